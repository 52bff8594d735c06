"""Whole runs at nano: what comes out, going on after any end, and what one stage hands to the next."""

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from megactor_core.config.model import ModelConfig
from megactor_core.config.train import TrainConfig
from megactor_core.errors import ConfigError, Interrupted, MegActorError, Terminated
from megactor_core.models.checkpoint import load_checkpoint
from megactor_core.training import keeper as keeper_module
from megactor_core.training.keeper import Validation
from megactor_core.training.network import TrainedNetwork
from megactor_core.training.objective import attention_mask
from megactor_core.training.run_checkpoint import newest_valid, step_folders
from megactor_core.training.stages import STAGES
from megactor_core.training.train import train
from megactor_core.training.watch import METRICS, VALIDATION, StepMetrics, ValidationMetrics, read_metrics
from megactor_core.training.work import count_sample

NANO = ModelConfig.preset("nano")
MakeConfig = Callable[..., TrainConfig]


class Killed(BaseException):
    """Ends a run as SIGKILL would: nobody handles it."""


def at_step(step: int, act: Callable[[], None]) -> Callable[[str, int, int], None]:
    def on_progress(phase: str, done: int, total: int) -> None:
        if done == step:
            act()

    return on_progress


def killed() -> None:
    raise Killed


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    names = ("sigma.safetensors", "audio_encoder.safetensors")
    return {f"{name}/{key}": value for name in names for key, value in load_file(folder / name).items()}


def same_weights(one: Path, other: Path) -> bool:
    first, second = weights_of(one), weights_of(other)
    return first.keys() == second.keys() and all(first[key].equal(second[key]) for key in first)


def losses_of(run: Path) -> list[tuple[int, float, float, float]]:
    """All but what the clock says."""
    lines = read_metrics(run / METRICS, StepMetrics)
    return [(line.step, line.loss, line.gradient_norm, line.learning_rate) for line in lines]


def test_a_run_leaves_everything_in_its_folder(make_config, fake_source, plots) -> None:
    config = make_config()
    seen: list[tuple[str, int, int]] = []
    report = train(config, source=fake_source(), on_progress=lambda *step: seen.append(step))
    folder = config.folder
    assert {path.name for path in folder.iterdir()} == {
        *(".lock", "config.yaml", "metrics.jsonl", "validation.jsonl", "loss.png"),
        *("checkpoints", "final"),
    }
    assert [path.name for path in step_folders(folder)] == ["step-00000004", "step-00000006"]
    assert [(phase.partition(",")[0], *counts) for phase, *counts in seen] == [
        ("training", step, 6) for step in range(1, 7)
    ]
    assert re.fullmatch(r"training, loss [\d.e-]+, [\d.e+]+ samples/s", seen[0][0])
    lines = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    wanted = {"step", "loss", "mse", "vb", "samples_per_second", "learning_rate"}
    wanted |= {"samples_per_cpu_second", "flops_per_second", "peak_share"}
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(wanted <= line.keys() for line in lines)
    assert report.to_json()["checkpoint"] == str(folder / "final")
    assert (report.step, report.loss) == (6, lines[-1]["loss"])
    assert report.sample_flops == count_sample(NANO, STAGES[1], frames=1, holds_latents=True).total
    for line in lines:
        rate = line["samples_per_second"]
        assert line["flops_per_second"] == pytest.approx(report.sample_flops * rate)
        assert line["peak_share"] / rate == pytest.approx(
            lines[0]["peak_share"] / lines[0]["samples_per_second"]
        )
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_the_final_checkpoint_is_one_that_animate_loads(make_config, fake_source) -> None:
    report = train(make_config(ema={"decay": 0.0}), source=fake_source())
    checkpoint = load_checkpoint(report.checkpoint)
    assert checkpoint.info.trained
    assert (checkpoint.info.name, checkpoint.info.stage) == ("nano-stage1", 1)
    newest = step_folders(report.checkpoint.parent)[-1]
    trained = load_file(newest / "weights.safetensors")
    held = dict(checkpoint.sigma.named_parameters(prefix="sigma"))
    assert all(held[name].equal(value) for name, value in trained.items())  # decay 0 is no average


def test_the_final_checkpoint_holds_the_moving_average(make_config, fake_source) -> None:
    report = train(make_config(ema={"decay": 0.9}), source=fake_source())
    newest = step_folders(report.checkpoint.parent)[-1]
    average, trained = (load_file(newest / f"{name}.safetensors") for name in ("average", "weights"))
    held = weights_of(report.checkpoint)
    assert all(
        held[f"sigma.safetensors/{name.removeprefix('sigma.')}"].equal(average[name]) for name in average
    )
    assert not all(average[name].equal(trained[name]) for name in average)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_loss_falls(stage, make_config, fake_source) -> None:
    config = make_config(stage, steps=40, batch_size=4, checkpoint_every=40, learning_rate=3e-3)
    train(config, source=fake_source(stage=stage))
    loss = [line.loss for line in read_metrics(config.folder / METRICS, StepMetrics)]
    assert sum(loss[-10:]) < 0.8 * sum(loss[:10])


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_only_the_stages_own_tensors_change(stage, make_config, fake_source) -> None:
    config = make_config(stage, steps=1)
    start = load_checkpoint(config.init)
    report = train(config, source=fake_source(stage=stage))
    if stage == 1:  # new weights are drawn
        start = load_checkpoint(config.folder / "checkpoints" / "start")
    network = TrainedNetwork(start.sigma, start.audio_encoder, stage=STAGES[stage])
    chosen = network.parameters_to_train()
    end = load_checkpoint(report.checkpoint)
    after = TrainedNetwork(end.sigma, end.audio_encoder, stage=STAGES[stage]).state_dict()
    changed = {name for name, value in network.state_dict().items() if not value.equal(after[name])}
    assert changed <= chosen.keys()
    assert len(changed) > len(chosen) / 2  # zero gradients behind zero layers leave some alone
    for name, value in start.autoencoder.state_dict().items():
        assert value.equal(end.autoencoder.state_dict()[name])


@pytest.mark.parametrize("stage", [2, 3])
def test_a_stage_begins_with_exactly_what_the_one_before_predicts(stage, make_config, fake_source) -> None:
    report = train(make_config(stage - 1, steps=3), source=fake_source(stage=stage - 1))
    model = load_checkpoint(report.checkpoint)
    batch = fake_source(stage=stage).batch(range(6))
    if stage == 2:  # stage 1 knows no sound: its part of the mix
        batch = fake_source(stage=1, frames=1).batch(range(6))
    noisy = torch.randn(batch.target_latent.shape, generator=torch.Generator().manual_seed(0))
    outputs = []
    for number in (stage - 1, stage):
        network = TrainedNetwork(model.sigma, model.audio_encoder, stage=STAGES[number])
        with torch.no_grad():
            outputs.append(
                network(
                    noisy,
                    torch.full((6,), 400),
                    reference_latent=batch.reference_latent,
                    driving=batch.driving,
                    audio=batch.audio,
                    speaks=torch.ones(6, dtype=torch.bool),
                    mask=attention_mask(batch, make_config(stage), model.config),
                )
            )
    assert outputs[0].equal(outputs[1])
    assert outputs[0].abs().max() > 0


@pytest.mark.parametrize(
    ("killed_at", "saved"), [pytest.param(1, 0, marks=pytest.mark.slow), (4, 2)]
)  # the fourth step's checkpoint comes after
def test_a_killed_run_goes_on_bit_for_bit(killed_at, saved, make_config, fake_source, whole_run) -> None:
    config, after = make_config(2), fake_source(stage=2)
    with pytest.raises(Killed):
        train(config, source=fake_source(stage=2), on_progress=at_step(killed_at, killed))
    train(config.updated(resume=True), source=after)
    assert same_weights(whole_run(2) / "final", config.folder / "final")
    assert losses_of(whole_run(2)) == losses_of(config.folder)
    assert after.asked == [[number, number + 1] for number in range(2 * saved, 12, 2)]


@pytest.mark.parametrize(
    ("number", "error", "exit_code"),
    [
        (signal.SIGTERM, Terminated, 143),
        pytest.param(signal.SIGINT, Interrupted, 130, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_the_run_after_its_step_and_keeps_it(
    number, error, exit_code, make_config, fake_source, whole_run
) -> None:
    config = make_config(1)
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(error, match="Stopped after step 3 of 6") as caught:
        train(config, source=fake_source(), on_progress=at_step(2, lambda: os.kill(os.getpid(), number)))
    assert caught.value.exit_code == exit_code
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    assert step_folders(config.folder)[-1].name == "step-00000003"
    assert not (config.folder / "final").exists()
    train(config.updated(resume=True), source=fake_source())
    assert same_weights(whole_run(1) / "final", config.folder / "final")


@pytest.mark.slow
def test_twice_the_batch_is_twice_the_accumulation(make_config, fake_source, tmp_path) -> None:
    runs = [
        make_config(2, output=tmp_path / "large", batch_size=4, learning_rate=1e-4),
        make_config(2, output=tmp_path / "small", batch_size=2, accumulate=2, learning_rate=1e-4),
    ]
    finals = [weights_of(train(config, source=fake_source(stage=2)).checkpoint) for config in runs]
    assert max(float((finals[0][key] - finals[1][key]).abs().max()) for key in finals[0]) < 1e-5


def test_recomputing_blocks_changes_nothing(make_config, fake_source, tmp_path) -> None:
    runs = [
        make_config(3, output=tmp_path / str(name), gradient_checkpointing=name, steps=2)
        for name in (False, True)
    ]
    finals = [train(config, source=fake_source(stage=3)).checkpoint for config in runs]
    assert same_weights(*finals)


def test_a_finished_run_does_nothing_more(make_config, fake_source) -> None:
    config = make_config(steps=2)
    first = train(config, source=fake_source())
    stamp = (first.checkpoint / "manifest.json").stat().st_mtime_ns
    source = fake_source()
    again = train(config.updated(resume=True), source=source)
    assert source.asked == []
    assert (again.step, again.loss, again.checkpoint) == (2, first.loss, first.checkpoint)
    assert (first.checkpoint / "manifest.json").stat().st_mtime_ns == stamp


def test_a_run_can_be_made_longer(make_config, fake_source, whole_run) -> None:
    config = make_config(steps=3)
    train(config, source=fake_source())
    train(config.updated(steps=6, resume=True, checkpoint_every=5), source=fake_source())
    assert same_weights(whole_run(1) / "final", config.folder / "final")


def test_a_loss_that_is_no_number_ends_the_run_with_its_checkpoint_whole(make_config, fake_source) -> None:
    class Broken(fake_source):
        def item(self, number: int):
            item = super().item(number)
            if number == 6:
                item.target_latent.fill_(float("nan"))
            return item

    config = make_config()
    with pytest.raises(MegActorError, match=r"loss of step 4 is nan; the step was not taken") as caught:
        train(config, source=Broken())
    assert caught.value.exit_code == 1
    newest = newest_valid(config.folder, pytest.fail)
    assert newest is not None
    assert newest.name == "step-00000002"
    assert all(value.isfinite().all() for value in load_file(newest / "weights.safetensors").values())
    assert len(read_metrics(config.folder / METRICS, StepMetrics)) == 3


def test_a_full_disk_ends_the_run_with_its_checkpoint_whole(make_config, fake_source, monkeypatch) -> None:
    config, calls = make_config(), []
    real = keeper_module.save_state

    def save(*arguments, **named):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(*arguments, **named)

    monkeypatch.setattr(keeper_module, "save_state", save)
    with pytest.raises(MegActorError, match=r"No space left on device.*are whole.*--resume"):
        train(config, source=fake_source())
    newest = newest_valid(config.folder, pytest.fail)
    assert newest is not None
    assert newest.name == "step-00000002"
    monkeypatch.undo()
    train(config.updated(resume=True), source=fake_source())
    assert (config.folder / "final").is_dir()


def test_memory_that_is_out_is_said(make_config, fake_source) -> None:
    config = make_config()
    error = RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    def fail(*_arguments, **_named):
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("megactor_core.training.objective.training_losses", fail)
        with pytest.raises(MegActorError, match=r"Not enough memory for step 1.*batch_size 2"):
            train(config, source=fake_source())


@pytest.mark.slow
def test_precision_may_differ_from_run_to_run_of_a_process(make_config, fake_source, tmp_path) -> None:
    init = make_config().init
    losses = [
        train(
            make_config(output=tmp_path / name, init=init, precision=name, steps=2), source=fake_source()
        ).loss
        for name in ("bfloat16", "float32")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0] != losses[1]


def test_validation_changes_nothing_and_falls(make_config, fake_source, tmp_path) -> None:
    settings = {"steps": 8, "learning_rate": 3e-3, "ema": {"decay": 0.5}, "validate_every": 4}
    plain = make_config(1, output=tmp_path / "plain", checkpoint_every=8, **settings)
    watched = make_config(1, output=tmp_path / "watched", checkpoint_every=8, **settings)
    train(plain, source=fake_source())
    train(watched, source=fake_source(), validation=Validation(fake_source(seed=1)))
    assert same_weights(plain.folder / "final", watched.folder / "final")
    assert losses_of(plain.folder) == losses_of(watched.folder)
    lines = read_metrics(watched.folder / VALIDATION, ValidationMetrics)
    assert [line.step for line in lines] == [0, 4, 8]
    assert lines[0].loss > lines[1].loss > lines[2].loss


def test_what_a_run_starts_from_is_measured_once(make_config, fake_source, tmp_path) -> None:
    """A run that is gone on with keeps its first measurement, and one that validates nothing has none."""
    config = make_config(1, steps=2, validate_every=2, checkpoint_every=2)
    train(config, source=fake_source(), validation=Validation(fake_source(seed=1)))
    before = read_metrics(config.folder / VALIDATION, ValidationMetrics)
    longer = config.updated(steps=4, resume=True)
    train(longer, source=fake_source(), validation=Validation(fake_source(seed=1)))
    lines = read_metrics(config.folder / VALIDATION, ValidationMetrics)
    assert [line.step for line in lines] == [0, 2, 4]
    assert lines[:2] == before
    assert lines[0].psnr_db is None


def test_an_empty_validation_split_is_said_and_skipped(make_config, fake_source, monkeypatch) -> None:
    def open_data(run):
        if run.config.draw.split == "validation":
            raise ConfigError("none of the split 'validation'")
        return fake_source()

    monkeypatch.setattr("megactor_core.training.train._open_data", open_data)
    config, notes = make_config(steps=2), []
    train(config, on_note=notes.append)
    assert any("no held-out clips that fit: validation is skipped" in note for note in notes)
    assert read_metrics(config.folder / VALIDATION, ValidationMetrics) == []


def test_how_fast_it_is_stands_in_the_notes(make_config, fake_source) -> None:
    notes: list[str] = []
    train(make_config(steps=2), source=fake_source(), on_note=notes.append)
    assert any(re.match(r"A sample is [\d.]+ MFLOP of work.*FLOP/s here", note) for note in notes)
    assert any(re.match(r"step 2: loss .* samples/s, .*FLOP/s, \d+% of the peak", note) for note in notes)
