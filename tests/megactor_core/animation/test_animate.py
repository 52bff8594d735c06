"""The whole path on real pictures: what comes out, that every driver matters, and that it repeats."""

import json
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from megactor_core.animation.animate import AnimateReport, animate, animate_jobs
from megactor_core.config.animate import AnimateConfig
from megactor_core.errors import Interrupted, MediaError, MegActorError, OutputError, UsageError
from megactor_core.media.image import read_image
from megactor_core.media.video import probe_video, read_video
from megactor_core.media.video_writer import VideoWriter

FAST = {"steps": 1, "guidance": 1.0}
"""For tests that look at lengths and files, not at what the steps make of the picture."""


@pytest.fixture(scope="module")
def run_in(media: Path, speaking_checkpoint: Path) -> Any:
    """Animate in a folder with some of V, A and further settings."""

    def run(
        folder: Path, *, name: str = "out.mp4", visual: bool = False, audio: bool = False, **settings: Any
    ) -> AnimateReport:
        return animate(
            AnimateConfig(
                reference=media / "portrait.png",
                driving=media / "driver.mp4" if visual else None,
                audio=media / "speech.wav" if audio else None,
                checkpoint=speaking_checkpoint,
                output=folder / name,
                **settings,
            )
        )

    return run


@pytest.fixture
def run(run_in: Any, tmp_path: Path) -> Any:
    """`run_in` the test's own folder."""
    return partial(run_in, tmp_path)


@pytest.fixture(scope="module")
def plain_frames(run_in: Any, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """What both drivers make of the portrait with every setting as it is by default."""
    return frames_of(run_in(tmp_path_factory.mktemp("plain"), visual=True, audio=True))


def frames_of(report: AnimateReport) -> np.ndarray:
    return np.stack(list(read_video(report.output)))


def sound_seconds(path: Path) -> float:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return float(stream.duration * stream.time_base)


@pytest.mark.parametrize(
    ("drivers", "frames", "modalities"),
    [
        ({"visual": True}, 20, ["visual"]),
        ({"audio": True}, 30, ["audio"]),
        ({"visual": True, "audio": True}, 30, ["visual", "audio"]),
    ],
)
def test_length_size_and_sound(
    run: Any, drivers: dict[str, bool], frames: int, modalities: list[str]
) -> None:
    report = run(**drivers, **FAST)
    assert report.modalities == modalities
    assert report.frames == frames
    assert frames_of(report).shape == (frames, 64, 64, 3)
    info = probe_video(report.output)
    assert (info.video_fps, info.width, info.has_sound) == (25, 64, "audio" in modalities)
    if info.has_sound:
        assert abs(sound_seconds(report.output) - frames / 25) <= 0.5 / 25


@pytest.mark.parametrize("fps", ["24", "30", "30000/1001", "60"])
def test_frame_rates(run: Any, fps: str) -> None:
    report = run(audio=True, visual=True, fps=Fraction(fps), **FAST)
    assert len(frames_of(report)) == report.frames == round(Fraction("1.2") * Fraction(fps))
    assert probe_video(report.output).video_fps == Fraction(fps)
    assert abs(sound_seconds(report.output) - report.frames / Fraction(fps)) <= 0.5 / Fraction(fps)


def test_size_and_seconds(run: Any) -> None:
    report = run(audio=True, size=96, seconds=0.4, **FAST)
    assert frames_of(report).shape == (10, 96, 96, 3)


def test_same_seed_same_frames_other_seed_other_frames(run: Any) -> None:
    first = run(name="a.mp4", visual=True, audio=True, seed=3)
    again = run(name="b.mp4", visual=True, audio=True, seed=3)
    other = run(name="c.mp4", visual=True, audio=True, seed=4)
    assert first.output.read_bytes() != other.output.read_bytes()
    assert np.array_equal(frames_of(first), frames_of(again))
    assert not np.array_equal(frames_of(first), frames_of(other))


@pytest.mark.parametrize(
    "settings",
    [
        {"audio_scale": 0.3},
        {"alpha": 0.0},
        {"regions": ("eyes", "mouth")},
        {"mask_mode": "off"},
        {"mask_mode": "strict"},
        {"guidance": 1.0},
        {"steps": 3},
        {"initial_latents": "noise"},
        {"window": {"frames": 8}},
        {"window": {"scheme": "overlap"}},
        {"noise": "freenoise"},
        {"noise": "shared"},
        {"driving_end": "stop"},
        {"box": {"divisor": 8}},
        {"crop": {"top": 1.0}},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_every_setting_changes_the_picture(
    run: Any, plain_frames: np.ndarray, settings: dict[str, Any]
) -> None:
    changed = run(visual=True, audio=True, **settings)
    a, b = plain_frames.astype(int), frames_of(changed).astype(int)
    assert a.shape == b.shape
    assert np.abs(a - b).max() > 2


def test_shared_noise_keeps_still_what_nothing_drives(run: Any) -> None:
    """A held driver frame, no sound and no temporal module that tells frames apart: one picture."""
    settings = {"visual": True, "alpha": 0.0, "regions": ("eyes",), "window": {"frames": 1}}
    shared = frames_of(run(name="a.mp4", noise="shared", **settings)).astype(int)
    apart = frames_of(run(name="b.mp4", noise="independent", **settings)).astype(int)
    assert np.abs(np.diff(shared, axis=0)).mean() < 0.5 * np.abs(np.diff(apart, axis=0)).mean()


def test_alpha_one_and_zero_audio_scale_are_exact(run: Any, media: Path, tmp_path: Path) -> None:
    """audio_scale 0 does not look at the sound; alpha 1 warps by the alignment alone."""
    soundfile.write(tmp_path / "other.wav", np.random.default_rng(0).normal(0, 0.1, 19_200), 16_000)
    silent = run(name="a.mp4", audio=True, visual=True, audio_scale=0.0)
    config = AnimateConfig(
        **{**config_of(silent), "audio": tmp_path / "other.wav", "output": tmp_path / "b.mp4"}
    )
    assert np.array_equal(frames_of(silent), frames_of(animate(config)))


def config_of(report: AnimateReport) -> dict[str, Any]:
    return json.loads(report.output.with_name(report.output.name + ".json").read_text())["config"]


def test_batching_does_not_change_the_picture(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the video codec, which would amplify a grey level."""
    written: list[np.ndarray] = []
    write = VideoWriter.write

    def record(writer: VideoWriter, frame: np.ndarray) -> None:
        written.append(frame.astype(int))
        write(writer, frame)

    monkeypatch.setattr(VideoWriter, "write", record)
    settings = {"visual": True, "audio": True, "window": {"frames": 7}}
    run(name="one.mp4", **settings, window_batch=1, decode_batch=1)
    run(name="many.mp4", **settings, window_batch=4, decode_batch=5)
    one, many = np.stack(written[:30]), np.stack(written[30:])
    assert one.std() > 20
    assert np.abs(one - many).max() <= 1


def test_description_rebuilds_the_run(run: Any, tmp_path: Path) -> None:
    report = run(visual=True, audio=True, seed=7, alpha=0.4)
    values = json.loads((tmp_path / "out.mp4.json").read_text())
    assert values["seed"] == 7
    assert values["lost_frames"] == []
    assert values["regions"] == ["eyes"]
    assert values["trained"] is False
    assert len(values["checkpoint_sha256"]) == len(values["inputs"]["audio"]["sha256"]) == 64
    again = animate(AnimateConfig(**{**values["config"], "output": tmp_path / "again.mp4"}))
    assert np.array_equal(frames_of(report), frames_of(again))
    with av.open(str(report.output)) as container:
        assert json.loads(container.metadata["comment"])["seed"] == 7


def test_compare_and_contact_sheet(run: Any, media: Path) -> None:
    report = run(visual=True, audio=True, compare=True, contact_sheet=True, **FAST)
    compare = np.stack(list(read_video(report.compare)))
    assert compare.shape == (30, 64, 192, 3)
    result = frames_of(report).astype(int)
    assert np.abs(compare[:, :, 128:].astype(int) - result).mean() < 8
    assert compare[:, :, 64:128].std() > 20  # the driver, not black
    assert read_image(report.contact_sheet).shape[1] > 4 * 64
    audio_only = run(name="a.mp4", audio=True, compare=True, contact_sheet=True, **FAST)
    assert probe_video(audio_only.compare).width == 128


def test_undriven_portrait_ignores_the_rest(run: Any, media: Path) -> None:
    """Audio alone: no driving video is opened, no lost faces."""
    report = run(audio=True)
    assert report.lost_face_frames == 0
    assert json.loads((report.output.parent / "out.mp4.json").read_text())["driving_frames"] == 0


def test_progress_covers_every_phase(media: Path, speaking_checkpoint: Path, tmp_path: Path) -> None:
    seen: dict[str, list[tuple[int, int]]] = {}
    notes: list[str] = []
    animate(
        AnimateConfig(
            reference=media / "portrait.png",
            driving=media / "driver.mp4",
            checkpoint=speaking_checkpoint,
            output=tmp_path / "out.mp4",
        ),
        lambda phase, done, total: seen.setdefault(phase, []).append((done, total)),
        notes.append,
    )
    assert list(seen) == ["finding the driver's face", "encoding the driver", "denoising", "writing"]
    for steps in seen.values():
        done = [d for d, _ in steps]
        assert done == sorted(done)
        assert steps[-1][0] == steps[-1][1]
    assert any("untrained" in note for note in notes)


# What would destroy or cannot be


def test_output_that_is_an_input_is_refused(media: Path, speaking_checkpoint: Path, tmp_path: Path) -> None:
    driver = tmp_path / "driver.mp4"
    driver.write_bytes((media / "driver.mp4").read_bytes())
    link = tmp_path / "link.mp4"
    link.symlink_to(driver)
    for output in (driver, link):
        with pytest.raises(OutputError, match="input"):
            animate(
                AnimateConfig(
                    reference=media / "portrait.png",
                    driving=driver,
                    checkpoint=speaking_checkpoint,
                    output=output,
                )
            )
    assert driver.read_bytes() == (media / "driver.mp4").read_bytes()


def test_a_strange_file_is_kept_and_our_own_replaced(run: Any, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"precious")
    with pytest.raises(OutputError, match="not written by megactor"):
        run(audio=True)
    assert (tmp_path / "out.mp4").read_bytes() == b"precious"
    run(audio=True, overwrite=True)
    first = (tmp_path / "out.mp4").read_bytes()
    run(audio=True, seed=5)
    assert (tmp_path / "out.mp4").read_bytes() != first


def test_a_video_that_a_killed_run_could_not_describe_is_known_by_its_own_words(run: Any) -> None:
    made = run(audio=True, compare=True, contact_sheet=True, **FAST)
    description = made.output.with_name("out.mp4.json")
    description.unlink()
    assert run(audio=True, compare=True, contact_sheet=True, seed=5, **FAST).frames == 30
    description.unlink()
    made.output.unlink()
    made.contact_sheet.unlink()  # the comparison is there first
    assert run(audio=True, compare=True, contact_sheet=True, **FAST).frames == 30


def test_a_video_of_another_tool_is_kept(run: Any, media: Path, tmp_path: Path) -> None:
    theirs = (media / "driver.mp4").read_bytes()
    (tmp_path / "out.mp4").write_bytes(theirs)
    with pytest.raises(OutputError, match="not written by megactor"):
        run(audio=True)
    assert (tmp_path / "out.mp4").read_bytes() == theirs


def test_what_killed_runs_left_half_written_goes_and_nothing_else(run: Any, tmp_path: Path) -> None:
    left = [".out.partial-7.mp4", ".out.compare.fragments.partial-12.mp4", ".out.mp4.partial-7.json"]
    others = [".out.v1.partial-7.mp4", ".out2.partial-7.mp4", ".out.partial-notes.mp4", "out.partial-7.mp4"]
    for name in left + others:
        (tmp_path / name).touch()
    run(audio=True, **FAST)
    assert {path.name for path in tmp_path.iterdir()} == {*others, "out.mp4", "out.mp4.json"}


def test_outputs_need_a_name_and_a_place(run: Any, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.mp4"):
        run(name="out.avi", audio=True)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError, match="folder"):
        run(name="folder.mp4", audio=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write"):
        run(name="file/out.mp4", audio=True)


def test_a_full_disk_leaves_no_video_and_keeps_the_work(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("megactor_core.media.video_writer.VideoWriter.write", full)
        with pytest.raises(MegActorError, match=r"space.*kept in .*--resume"):
            run(audio=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4.resume"]
    monkeypatch.setattr("megactor_core.models.dit.Denoiser.forward", None)  # nothing is denoised again
    assert run(audio=True, resume=True).frames == 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "out.mp4.json"]


def test_nothing_to_do(media: Path) -> None:
    with pytest.raises(UsageError, match="Nothing drives"):
        animate(AnimateConfig(reference=media / "portrait.png"))
    with pytest.raises(UsageError, match="no portrait"):
        animate(AnimateConfig(audio=media / "speech.wav"))
    with pytest.raises(MediaError, match=r"missing\.wav"):
        animate(AnimateConfig(reference=media / "portrait.png", audio=media / "missing.wav"))


def test_a_failing_job_does_not_stop_the_rest(media: Path, speaking_checkpoint: Path, tmp_path: Path) -> None:
    good = AnimateConfig(
        reference=media / "portrait.png",
        audio=media / "speech.wav",
        checkpoint=speaking_checkpoint,
        output=tmp_path / "good.mp4",
        seconds=0.2,
    )
    bad = good.updated(reference=media / "nobody.png", output=tmp_path / "bad.mp4")
    done: list[Any] = []
    results = animate_jobs([bad, good, good.updated(seed=1)], on_done=done.append)
    assert isinstance(results[2], OutputError)  # it would have replaced the second job's video
    assert results == done
    elsewhere = good.updated(output=tmp_path / "folder" / ".." / "good.mp4", seed=2)
    assert [type(result) for result in animate_jobs([good, elsewhere])] == [AnimateReport, OutputError]
    assert isinstance(results[0], MediaError)
    assert isinstance(results[1], AnimateReport)
    assert results[1].output.exists()


def test_an_interrupted_job_stops_those_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[AnimateConfig] = []

    def stop(_animator: object, job: AnimateConfig, _listener: object) -> None:
        begun.append(job)
        raise Interrupted("Interrupted.")

    monkeypatch.setattr("megactor_core.animation.animate.Animator.animate", stop)
    jobs = [AnimateConfig(reference=Path("a.png"), output=Path(name)) for name in ("a.mp4", "b.mp4")]
    with pytest.raises(Interrupted):
        animate_jobs(jobs)
    assert begun == jobs[:1]
