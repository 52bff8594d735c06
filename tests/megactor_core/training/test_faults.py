"""What cannot work ends in one clear error, before anything is written or overwritten."""

import fcntl
import shutil
from pathlib import Path

import pytest

from megactor_core.config.train import TrainConfig
from megactor_core.errors import ConfigError, OutputError, UsageError, WeightsError
from megactor_core.training.run_checkpoint import newest_valid, step_folders
from megactor_core.training.train import train

pytestmark = pytest.mark.slow  # whole runs


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture(scope="module")
def finished_run(make_nano, fake_source, tmp_path_factory):
    """The folder of a run of four steps."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    values = {"stage": 1, "preset": "nano", "init": make_nano(stage=0), "output": folder, "device": "cpu"}
    values |= {"steps": 4, "batch_size": 2, "checkpoint_every": 2, "learning_rate": 1e-3, "workers": 0}
    train(TrainConfig.build(values, source="test"), source=fake_source())
    return folder


@pytest.fixture
def done(finished_run, make_config):
    """The configuration of a run of four steps, in a folder of its own."""
    config = make_config(steps=4)
    shutil.copytree(finished_run, config.folder)
    return config


@pytest.mark.parametrize(
    ("stage", "of_stage", "message"),
    [
        (2, 0, "Stage 2 starts from a checkpoint of stage 1, but '.*' is of stage 0"),
        (2, 3, "Stage 2 starts from a checkpoint of stage 1, but '.*' is of stage 3"),
        (3, 1, "Stage 3 starts from a checkpoint of stage 2, but '.*' is of stage 1"),
    ],
)
def test_a_start_of_another_stage(stage, of_stage, message, make_config, make_nano, fake_source) -> None:
    config = make_config(stage, init=make_nano(stage=of_stage))
    with pytest.raises(ConfigError, match=message):
        train(config, source=fake_source(stage=stage))
    assert not config.folder.exists()


@pytest.mark.parametrize("stage", [2, 3])
def test_a_stage_goes_on_with_its_own_checkpoint(stage, make_config, make_nano, fake_source) -> None:
    config = make_config(stage, init=make_nano(stage=stage), steps=1)
    assert train(config, source=fake_source(stage=stage)).step == 1


def test_a_missing_start(make_config, fake_source, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = make_config(2, init=None)
    with pytest.raises(WeightsError, match=r"no checkpoint 'runs/stage1/final'.*megactor train --stage 1"):
        train(config, source=fake_source(stage=2))
    assert list(tmp_path.iterdir()) == []


def test_the_stage_before_is_found_by_itself(
    make_config, make_nano, fake_source, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(make_nano(stage=1), tmp_path / "runs" / "stage1" / "final")
    report = train(make_config(2, init=None, output=None, steps=1), source=fake_source(stage=2))
    assert report.checkpoint == Path("runs/stage2/final")


def test_a_small_model_without_an_autoencoder(make_config, fake_source, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"needs an autoencoder.*tiny-autoencoder"):
        train(make_config(init=None), source=fake_source())


def test_the_papers_model_without_pixart(make_config, fake_source, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MEGACTOR_CACHE", str(tmp_path / "cache"))
    with pytest.raises(WeightsError, match=r"pixart-alpha-512.*weights pull.*--recipe tiny-stage1"):
        train(make_config(init=None, preset="paper"), source=fake_source())


def test_an_autoencoder_of_another_shape(make_config, fake_source) -> None:
    with pytest.raises(ConfigError, match=r"The autoencoder in .* latent_channels=4.*latent_channels=8"):
        train(make_config(preset="tiny"), source=fake_source())


def test_a_start_of_another_size(make_config, fake_source) -> None:
    with pytest.raises(ConfigError, match=r"model.depth is 6, but the checkpoint '.*' has 4"):
        train(make_config(2, preset="tiny"), source=fake_source(stage=2))


@pytest.mark.parametrize("harm", ["tampered", "truncated", "pickle"])
def test_a_start_that_is_damaged(harm, make_config, make_nano, fake_source, tmp_path) -> None:
    folder = shutil.copytree(make_nano(stage=1), tmp_path / "start")
    _harm(folder / "sigma.safetensors", harm)
    config = make_config(2, init=folder)
    with pytest.raises(WeightsError, match=r"sigma.safetensors' is damaged"):
        train(config, source=fake_source(stage=2))
    assert not config.folder.exists()


def test_data_of_another_size(make_config, fake_source) -> None:
    class Large(fake_source):
        def item(self, number: int):
            item = super().item(number)
            wide = item.target_latent.repeat(1, 1, 2, 2)
            return type(item)(
                **{name: getattr(item, name) for name in item.__slots__} | {"target_latent": wide}
            )

    with pytest.raises(ConfigError, match=r"latents of \(4, 16, 16\).*made for \(4, 8, 8\).*--size 64"):
        train(make_config(), source=Large())


def test_a_run_that_is_there_already(done, fake_source) -> None:
    before = snapshot(done.folder)
    with pytest.raises(OutputError, match=r"holds a run already \(its newest checkpoint is step-00000004\)"):
        train(done, source=fake_source())
    assert snapshot(done.folder) == before


def test_a_folder_of_something_else(make_config, fake_source, tmp_path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text("keep me")
    with pytest.raises(OutputError, match="exists and is not a run of megactor"):
        train(make_config(output=tmp_path / "mine"), source=fake_source())
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["config.yaml"]


def test_a_folder_that_cannot_be_made(make_config, fake_source, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write into the folder"):
        train(make_config(output=tmp_path / "file" / "run"), source=fake_source())


def test_two_runs_on_one_folder(done, fake_source) -> None:
    before = snapshot(done.folder)
    with (done.folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="is in use by another run"):
            train(done.updated(resume=True), source=fake_source())
    assert snapshot(done.folder) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 1e-4}, r"learning_rate was 0\.001, now 0\.0001"),
        ({"batch_size": 3}, "batch_size was 2, now 3"),
        ({"ema": {"decay": 0.5}}, r"ema\.decay was 0\.9999, now 0\.5"),
        ({"model": {"depth": 6}}, r"model\.depth was 4, now 6"),
        ({"steps": 3}, r"steps = 3, but the run in '.*' has done 4 already"),
    ],
)
def test_other_settings_on_resume(changes, message, done, make_config, fake_source) -> None:
    before = snapshot(done.folder)
    config = make_config(**{"steps": 4, "resume": True, "init": done.init} | changes)
    with pytest.raises(ConfigError, match=message):
        train(config, source=fake_source())
    assert snapshot(done.folder) == before


def test_cadence_may_change_on_resume(done, fake_source) -> None:
    config = done.updated(resume=True, steps=5, checkpoint_every=1, keep=1, workers=1)
    assert train(config, source=fake_source()).step == 5
    assert [path.name for path in step_folders(done.folder)] == ["step-00000005"]


def test_more_steps_than_a_falling_learning_rate_was_made_for(make_config, fake_source) -> None:
    config = make_config(steps=2, optimiser={"decay": "linear"})
    train(config, source=fake_source())
    with pytest.raises(ConfigError, match=r"steps was 2, now 4, and the learning rate falls"):
        train(config.updated(steps=4, resume=True), source=fake_source())


def test_other_data_on_resume(done, fake_source) -> None:
    with pytest.raises(ConfigError, match=r"the index of its data was fake-1-0-1.*, now fake-1-9-1"):
        train(done.updated(resume=True, steps=6), source=fake_source(seed=9))


@pytest.mark.parametrize("harm", ["tampered", "truncated", "pickle", "missing"])
@pytest.mark.parametrize(
    "name", ["weights.safetensors", "optimiser.safetensors", "state.json", "manifest.json"]
)
def test_a_damaged_checkpoint_is_passed_over(harm, name, done, fake_source) -> None:
    newest = step_folders(done.folder)[-1]
    _harm(newest / name, harm)
    notes: list[str] = []
    valid = newest_valid(done.folder, notes.append)
    assert valid is not None
    assert valid.name == "step-00000002"
    assert len(notes) == 1
    assert str(newest) in notes[0]


def test_a_run_goes_on_from_the_newest_whole_checkpoint(done, make_config, fake_source, tmp_path) -> None:
    final = (done.folder / "final" / "sigma.safetensors").read_bytes()
    _harm(step_folders(done.folder)[-1] / "weights.safetensors", "tampered")
    notes: list[str] = []
    train(done.updated(resume=True), source=fake_source(), on_note=notes.append)
    assert any("passed over" in note for note in notes)
    assert newest_valid(done.folder, pytest.fail) == step_folders(done.folder)[-1]
    assert (done.folder / "final" / "sigma.safetensors").read_bytes() == final


def test_no_whole_checkpoint_at_all(done, fake_source) -> None:
    for folder in step_folders(done.folder):
        _harm(folder / "weights.safetensors", "truncated")
    before = snapshot(done.folder)
    with pytest.raises(WeightsError, match="None of the 2 checkpoints"):
        train(done.updated(resume=True), source=fake_source())
    assert snapshot(done.folder) == before


def test_a_sample_that_cannot_be_read_is_said_in_its_own_words(make_config, fake_source) -> None:
    class Lost(fake_source):
        def batch(self, numbers):
            if 4 in numbers:
                raise UsageError("The sample 'x' is missing.", fix="Preprocess again.")
            return super().batch(numbers)

    for workers in (0, 1):
        config = make_config(workers=workers)
        with pytest.raises(UsageError) as caught:
            train(config, source=Lost())
        assert str(caught.value) == "The sample 'x' is missing. Preprocess again."
        shutil.rmtree(config.folder)


def test_half_precision_on_a_cpu(make_config, fake_source) -> None:
    with pytest.raises(ConfigError, match="float16 does not run well on a CPU"):
        train(make_config(precision="float16"), source=fake_source())


def _harm(path: Path, how: str) -> None:
    content = path.read_bytes()
    match how:
        case "tampered":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "pickle":
            path.write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
        case "missing":
            path.unlink()


def test_a_checkpoint_that_a_kill_left_goes_at_the_end(done, fake_source) -> None:
    """Killed with its last step saved and what that one replaces not yet removed."""
    wanted = step_folders(done.folder)
    shutil.copytree(wanted[-1], wanted[-1].with_name("step-00000001"))
    shutil.rmtree(done.folder / "final")
    config = done.updated(keep=len(wanted), resume=True)
    train(config, source=fake_source())
    assert step_folders(done.folder) == wanted
    assert (done.folder / "final").is_dir()
