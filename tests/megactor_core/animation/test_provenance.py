"""Every video that `animate` writes is signed, tagged and described, and carries its badge."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from megactor_core.animation import marks
from megactor_core.animation.animate import AnimateReport, animate
from megactor_core.animation.badge import Badge, picture
from megactor_core.animation.output_paths import read_tags
from megactor_core.animation.verify import badge_seconds, verify
from megactor_core.config.animate import AnimateConfig
from megactor_core.config.media import MediaLimits
from megactor_core.errors import ConfigError, CredentialError, MediaError, MegActorError
from megactor_core.files import sha256_of
from megactor_core.media.video import read_video
from megactor_core.provenance.certificates import make_key_pair

pytestmark = pytest.mark.slow  # whole runs

Run = Callable[..., AnimateReport]
LIMITS = MediaLimits()

KILLED = """
import os, signal, sys
from pathlib import Path
from megactor_core.animation import marks
from megactor_core.animation.animate import animate
from megactor_core.config.animate import AnimateConfig
sign = marks.sign_video
def killed(source, target, **rest):
    sign(source, target, **rest)
    os.kill(os.getpid(), signal.SIGKILL)
marks.sign_video = killed
animate(AnimateConfig.model_validate_json(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def config(media: Path, speaking_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> AnimateConfig:
    """20 frames at 25 fps, without loss, both drivers; a step."""
    return AnimateConfig(
        reference=media / "portrait.png",
        driving=media / "driver.mp4",
        audio=media / "speech.wav",
        checkpoint=speaking_checkpoint,
        output=tmp_path_factory.mktemp("signed") / "out.mp4",
        seconds=0.8,
        steps=1,
        guidance=1.0,
        quality="lossless",
    )


@pytest.fixture
def run(config: AnimateConfig, tmp_path: Path) -> Run:
    """Animates into the test's own folder."""
    return lambda **settings: animate(config.updated(**{"output": tmp_path / "out.mp4", **settings}))


@pytest.fixture(scope="module")
def made(config: AnimateConfig) -> AnimateReport:
    """With all there is."""
    return animate(config.updated(compare=True, contact_sheet=True))


def description(report: AnimateReport) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(report.output.with_name("out.mp4.json").read_text())
    return values


def frames_of(path: Path) -> np.ndarray:
    return np.stack(list(read_video(path)))


def copied(source: Path, target: Path, *, with_tags: bool) -> Path:
    """The streams alone, by PyAV."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        if with_tags:
            new.metadata.update(old.metadata)
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    return target


# ---------------------------------------------------------------- signed


def test_video_and_comparison_are_signed_tagged_and_described(made: AnimateReport, media: Path) -> None:
    for video in (made.output, made.compare):
        report = verify(video)
        assert (report.verdict, report.credential.state) == ("valid", "trusted")
        assert report.disagree == ()
        assert report.tags == read_tags(video, limits=LIMITS)
        for name in report.tags.keys() - {"config"}:
            assert report.credential.facts[name] == report.tags[name]
        assert report.credential.facts["config"].keys() == report.tags["config"].keys()
        named = {row["name"]: row["sha256"] for row in report.credential.ingredients}
        assert named == {
            name: sha256_of(media / name) for name in ("portrait.png", "driver.mp4", "speech.wav")
        }
    assert verify(made.output).description == "agrees"
    assert verify(made.compare).description == "absent"
    assert description(made)["provenance"] == {"signed": True}


def test_the_manifest_says_how_it_was_made(made: AnimateReport, config: AnimateConfig) -> None:
    facts, beside = verify(made.output).credential.facts, description(made)
    assert facts["seed"] == 0
    assert facts["checkpoint_sha256"] == beside["checkpoint_sha256"]
    assert (facts["audio_scale"], facts["alpha"], facts["regions"]) == (1, 1, ["eyes"])
    assert facts["badge"] == beside["badge"]
    assert facts["config"]["steps"] == 1
    assert facts["inputs"]["audio"]["sha256"] == beside["inputs"]["audio"]["sha256"]


def test_no_path_of_the_user_is_in_the_video(made: AnimateReport, config: AnimateConfig) -> None:
    for folder in (config.output.parent, config.reference.parent, config.checkpoint.parent, Path.home()):
        for video in (made.output, made.compare):
            assert str(folder).encode() not in video.read_bytes() or folder == Path("/")


def test_only_the_final_files_are_left(made: AnimateReport) -> None:
    assert {path.name for path in made.output.parent.iterdir()} == {
        *("out.mp4", "out.mp4.json", "out.compare.mp4", "out.sheet.png")
    }
    assert stat.S_IMODE(made.output.stat().st_mode) & 0o444 == 0o444


@pytest.mark.parametrize("with_tags", [True, False])
def test_a_copy_of_the_streams_is_unsigned(made: AnimateReport, tmp_path: Path, with_tags: bool) -> None:
    report = verify(copied(made.output, tmp_path / "copy.mp4", with_tags=with_tags))
    assert report.verdict == "unsigned"
    assert report.credential.facts == {}
    other_container = verify(copied(made.output, tmp_path / "copy.mkv", with_tags=False))
    assert other_container.verdict == "unsigned"


def test_an_unsigned_video_says_so(run: Run) -> None:
    report = run(provenance=False)
    found = verify(report.output)
    assert found.verdict == "unsigned"
    assert found.tags is not None
    assert found.badge == description(report)["badge"]
    assert description(report)["provenance"] == {"signed": False}
    assert description(report)["config"]["provenance"] is False


def test_layers_that_differ_are_named(made: AnimateReport, tmp_path: Path) -> None:
    video = tmp_path / "out.mp4"
    video.write_bytes(made.output.read_bytes())
    assert verify(video).description == "absent"
    beside = tmp_path / "out.mp4.json"
    beside.write_text(json.dumps(description(made) | {"seed": 5}))
    assert (verify(video).description, verify(video).disagree) == ("agrees", ("seed",))
    beside.write_text(json.dumps(description(made) | {"sha256": "0"}))
    assert verify(video).description == "of another file"
    for text in ("no json", "[]", "{}", "[" * 100_000):
        beside.write_text(text)
        assert verify(video).description == "unreadable"
        assert verify(video).verdict == "valid"


def test_resumed_is_signed_and_holds_the_same(run: Run, config: AnimateConfig, tmp_path: Path) -> None:
    """The signature has a number and a time of its own; picture, sound and tags are equal bit for bit."""

    def content(path: Path) -> tuple[Any, ...]:
        with av.open(str(path)) as container:
            packets = [(p.stream.index, p.pts, p.dts, bytes(p)) for p in container.demux() if p.size]
            return packets, dict(container.metadata)

    whole = run(output=tmp_path / "whole.mp4")
    stopping = config.updated(output=tmp_path / "out.mp4")

    def stop(phase: str, done: int, _total: int) -> None:
        if phase == "writing" and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(MegActorError):
        animate(stopping, stop)
    assert not stopping.output.exists()
    resumed = animate(stopping.updated(resume=True))
    assert verify(resumed.output).verdict == "valid"
    assert content(resumed.output) == content(whole.output)
    before = resumed.output.read_bytes()
    assert animate(stopping.updated(resume=True)) == resumed
    assert before == resumed.output.read_bytes()


def test_the_manifest_of_a_driver_is_kept(run: Run, made: AnimateReport) -> None:
    report = run(driving=made.compare, face=0)
    rows = {row["name"]: row for row in verify(report.output).credential.ingredients}
    assert rows["out.compare.mp4"]["signed"]
    assert not rows["portrait.png"]["signed"]


# ---------------------------------------------------------------- keys and failures


def test_a_given_key_signs(run: Run, tmp_path: Path) -> None:
    pair = make_key_pair()
    files = {name: tmp_path / f"{name}.pem" for name in ("cert", "key", "anchor")}
    files["cert"].write_bytes(pair.key.chain_pem)
    files["key"].write_bytes(pair.key.key_pem)
    files["anchor"].write_bytes(pair.authority_pem)
    video = run(c2pa_cert=files["cert"], c2pa_key=files["key"]).output
    assert verify(video).credential.state == "valid"
    assert verify(video, anchor=files["anchor"]).credential.state == "trusted"
    assert b"private" not in video.read_bytes()


def test_a_bad_key_ends_the_run_before_it_begins(run: Run, tmp_path: Path) -> None:
    pair, other = make_key_pair(), make_key_pair()
    (tmp_path / "cert.pem").write_bytes(pair.key.chain_pem)
    (tmp_path / "key.pem").write_bytes(other.key.key_pem)
    with pytest.raises(CredentialError, match="does not belong"):
        run(c2pa_cert=tmp_path / "cert.pem", c2pa_key=tmp_path / "key.pem")
    with pytest.raises(CredentialError, match="Cannot read"):
        run(c2pa_cert=tmp_path / "cert.pem", c2pa_key=tmp_path / "none.pem")
    assert {path.name for path in tmp_path.iterdir()} == {"cert.pem", "key.pem"}


@pytest.mark.parametrize(
    "settings",
    [{"c2pa_cert": "a.pem"}, {"c2pa_key": "a.pem"}, {"c2pa_cert": "a", "c2pa_key": "b", "provenance": False}],
)
def test_half_a_pair_is_a_wrong_configuration(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="c2pa_cert"):
        AnimateConfig.build(settings, source="here")


def test_what_cannot_be_signed_leaves_nothing_and_the_work_is_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out.mp4").write_bytes(b"precious")

    def fail(*_args: object, **_rest: object) -> None:
        raise MegActorError("It cannot be signed.", fix="Mend it.")

    with monkeypatch.context() as patch:
        patch.setattr(marks, "sign_video", fail)
        with pytest.raises(MegActorError, match="cannot be signed"):
            run(overwrite=True)
    assert (tmp_path / "out.mp4").read_bytes() == b"precious"
    assert {path.name for path in tmp_path.iterdir()} == {"out.mp4", "out.mp4.resume"}
    assert verify(run(overwrite=True, resume=True).output).verdict == "valid"


def test_killed_while_signing_leaves_no_unsigned_file(config: AnimateConfig, tmp_path: Path) -> None:
    stopped = config.updated(output=tmp_path / "out.mp4")
    command = [sys.executable, "-c", KILLED, stopped.model_dump_json()]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    names = {path.name for path in tmp_path.iterdir()}
    assert "out.mp4" not in names
    assert any("unsealed" in name for name in names)
    animate(stopped.updated(resume=True))
    assert {path.name for path in tmp_path.iterdir()} == {"out.mp4", "out.mp4.json"}
    assert verify(tmp_path / "out.mp4").verdict == "valid"


@pytest.mark.parametrize(
    "kind", ["missing", "folder", "empty", "text", "sound", "picture", "truncated", "pipe"]
)
def test_what_is_no_video_is_one_message(kind: str, media: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    match kind:
        case "folder":
            path.mkdir()
        case "empty":
            path.touch()
        case "text":
            path.write_text("ffconcat version 1.0\nfile a.mp4\n")
        case "sound":
            path = media / "speech.wav"
        case "picture":
            path = media / "portrait.png"
        case "truncated":
            path.write_bytes((media / "driver.mp4").read_bytes()[:200])
        case "pipe":
            os.mkfifo(path)
    with pytest.raises(MediaError):
        verify(path)


def test_a_file_beyond_the_limit_is_refused(made: AnimateReport) -> None:
    with pytest.raises(MediaError, match="limit"):
        verify(made.output, limits=MediaLimits(max_file_bytes=100))


# ---------------------------------------------------------------- the badge


def test_the_first_frames_carry_the_badge_and_the_others_are_untouched(run: Run, tmp_path: Path) -> None:
    plain = frames_of(run(output=tmp_path / "plain.mp4", badge="off").output)
    start = run(badge_seconds=0.2)
    badged = frames_of(start.output)
    h, w, _ = picture(64).shape
    for number in range(5):
        assert np.array_equal(badged[number, 2 : 2 + h, 62 - w : 62], picture(64))
        outside = badged[number].copy()
        outside[2 : 2 + h, 62 - w : 62] = plain[number, 2 : 2 + h, 62 - w : 62]
        assert np.array_equal(outside, plain[number])
    assert np.array_equal(badged[5:], plain[5:])
    stated = {"placement": "start", "text": "AI GENERATED", "frames": 5, "until_seconds": 0.2}
    assert verify(start.output).badge == description(start)["badge"] == stated
    assert badge_seconds(start.output, limits=LIMITS) == 0.2
    assert badge_seconds(tmp_path / "plain.mp4", limits=LIMITS) == 0


def test_always_is_every_frame_and_the_comparison_too(run: Run) -> None:
    report = run(badge="always", compare=True)
    h, w, _ = picture(64).shape
    for frame in frames_of(report.output):
        assert np.array_equal(frame[2 : 2 + h, 62 - w : 62], picture(64))
    for frame in frames_of(report.compare):
        assert np.array_equal(frame[2 : 2 + h, 190 - w : 190], picture(64))


@pytest.mark.parametrize(
    ("fps", "seconds", "frames"), [("25", 0.2, 5), ("25", 3.0, 75), ("30000/1001", 1.0, 30), ("24", 99.0, 80)]
)
def test_which_frames_carry_it(fps: str, seconds: float, frames: int) -> None:
    config = AnimateConfig(fps=Fraction(fps), badge_seconds=seconds)
    assert Badge.of(config, frames=80, side_px=64).frames == frames


@pytest.mark.parametrize("side_px", [32, 64, 96, 128, 256, 512, 1024, 2048])
def test_it_fits_at_every_size_and_reads(side_px: int) -> None:
    """White letters of five pixels or more on black in the upper right, a third of the height at most."""
    frame = np.full((side_px, side_px, 3), 200, dtype=np.uint8)
    marked = Badge("always", 1, Fraction(25), side_px).on(0, frame)
    assert frame.min() == 200
    rows, columns = np.nonzero((marked != frame).any(axis=2))
    assert rows.max() < (side_px / 2 if side_px < 64 else side_px / 3)
    assert columns.max() >= side_px * 0.93
    letters = picture(side_px)
    assert letters.max() > 200
    assert letters.min() == 16
    inked = np.nonzero((letters > 100).any(axis=(1, 2)))[0]
    assert inked[-1] - inked[0] + 1 >= 5
