import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megactor_core.errors import OutputError
from megactor_core.media.audio import Sound, read_sound, resample
from megactor_core.media.video import probe_video, read_video
from megactor_core.media.video_writer import VideoWriter

FPS = Fraction(25)
GREY = np.full((48, 64, 3), 128, np.uint8)


def chirp(seconds: float, *, audio_hz: int, channels: int = 1) -> Sound:
    """A tone that rises, so that every moment of it differs from every other."""
    t = np.arange(round(seconds * audio_hz)) / audio_hz
    tone = 0.5 * np.sin(2 * np.pi * (200 + 300 * t) * t)
    return Sound(np.repeat(tone[:, None], channels, axis=1).astype(np.float32), audio_hz)


def write(path: Path, *, frames: int = 10, video_fps: Fraction = FPS, **options: Any) -> Path:
    with VideoWriter(path, video_fps=video_fps, width=64, height=48, **options) as writer:
        for _ in range(frames):
            writer.write(GREY)
    return path


def stream_seconds(path: Path) -> dict[str, float]:
    """Start and length of each stream as the header gives them, by the packets where they disagree."""
    found: dict[str, float] = {}
    with av.open(str(path)) as container:
        for stream in container.streams:
            assert stream.duration is not None
            assert stream.time_base is not None
            found[stream.type] = float(stream.duration * stream.time_base)
            found[f"{stream.type} start"] = float((stream.start_time or 0) * stream.time_base)
    return found


@settings(max_examples=25)
@given(
    video_fps=st.sampled_from(
        [Fraction(n) for n in (24, 25, 60, 200)] + [Fraction(30000, 1001), Fraction(237, 10)]
    ),
    frames=st.sampled_from([1, 2, 7, 50, 101]),
    audio_hz=st.sampled_from([8000, 11000, 16000, 22050, 44100, 48000, 192000]),
    channels=st.sampled_from([1, 2, 6]),
    ratio=st.sampled_from([0.3, 1.0, 2.0]),
)
def test_picture_and_sound_are_equally_long(
    tmp_path_factory: pytest.TempPathFactory,
    video_fps: Fraction,
    frames: int,
    audio_hz: int,
    channels: int,
    ratio: float,
) -> None:
    seconds = frames / video_fps
    sound = chirp(float(seconds) * ratio + 0.001, audio_hz=audio_hz, channels=channels)
    path = write(tmp_path_factory.mktemp("av") / "x.mp4", frames=frames, video_fps=video_fps, sound=sound)
    found = stream_seconds(path)
    assert found["video"] == pytest.approx(float(seconds), abs=1e-4)
    assert abs(found["audio"] - found["video"]) <= 1 / (2 * video_fps)
    assert found["video start"] == found["audio start"] == 0
    assert probe_video(path).video_fps == video_fps
    assert sum(1 for _ in read_video(path)) == sum(1 for _ in read_video(path, video_fps=video_fps)) == frames
    assert abs(read_sound(path).seconds - seconds) <= 1 / (2 * video_fps)


@pytest.mark.parametrize(
    ("audio_hz", "channels", "kept_hz", "kept_channels"),
    [
        (8000, 1, 8000, 1),
        (16000, 1, 16000, 1),
        (44100, 2, 44100, 2),
        (48000, 6, 48000, 6),
        (11000, 1, 11025, 1),
        (9000, 2, 11025, 2),
        (192000, 1, 96000, 1),
        (4000, 1, 7350, 1),
        (16000, 9, 16000, 1),
    ],
)
def test_rate_and_channels_are_kept_where_aac_has_them(
    tmp_path: Path, audio_hz: int, channels: int, kept_hz: int, kept_channels: int
) -> None:
    sound = chirp(1, audio_hz=audio_hz, channels=channels)
    read = read_sound(write(tmp_path / "x.mp4", frames=25, sound=sound))
    assert (read.audio_hz, read.channels) == (kept_hz, kept_channels)


@pytest.mark.parametrize("audio_hz", [8000, 16000, 44100])
def test_the_sound_comes_back_in_place_to_the_sample(tmp_path: Path, audio_hz: int) -> None:
    sound = chirp(2, audio_hz=audio_hz)
    read = read_sound(write(tmp_path / "x.mp4", frames=50, sound=sound))
    noise = read.samples - sound.samples
    decibels = 10 * np.log10((sound.samples**2).sum() / (noise**2).sum())
    # One sample of delay alone would cap this at about 15 dB.
    assert decibels > 20


def test_six_channels_stay_in_order(tmp_path: Path) -> None:
    tones = [chirp(1, audio_hz=48000).samples[:, 0] * gain for gain in (0.9, 0.7, 0.5, 0.0, 0.3, 0.1)]
    read = read_sound(write(tmp_path / "x.mp4", frames=25, sound=Sound(np.stack(tones, axis=1), 48000)))
    loudness = read.samples.std(axis=0)
    assert list(np.argsort(-loudness)) == [0, 1, 2, 4, 5, 3]


def test_silence_after_a_sound_that_is_too_short(tmp_path: Path) -> None:
    read = read_sound(write(tmp_path / "x.mp4", frames=50, sound=chirp(0.5, audio_hz=16000)))
    assert np.abs(read.samples[: 16000 // 3]).max() > 0.4
    assert np.abs(read.samples[16000:]).max() < 0.01


def test_colours_survive(tmp_path: Path) -> None:
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [200, 150, 120]])
    picture = np.repeat(np.repeat(colours[None], 64, 0), 32, 1).astype(np.uint8)
    with VideoWriter(tmp_path / "x.mp4", video_fps=FPS, width=192, height=64) as writer:
        writer.write(picture)
    seen = next(read_video(tmp_path / "x.mp4"))[32, 16::32].astype(int)
    assert np.abs(seen - colours).max() <= 4


def test_lossless_keeps_every_value(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (5, 47, 63, 3), dtype=np.uint8)
    with VideoWriter(tmp_path / "x.mp4", video_fps=FPS, width=63, height=47, quality="lossless") as writer:
        for picture in noise:
            writer.write(picture)
    assert np.array_equal(np.stack(list(read_video(tmp_path / "x.mp4"))), noise)


def test_views_and_readonly_frames_are_written(tmp_path: Path) -> None:
    wide = np.random.default_rng(0).integers(0, 256, (48, 128, 3), dtype=np.uint8)
    half = wide[:, ::2][::-1]
    half.flags.writeable = False
    with VideoWriter(tmp_path / "x.mp4", video_fps=FPS, width=64, height=48, quality="lossless") as writer:
        writer.write(half)
    assert np.array_equal(next(read_video(tmp_path / "x.mp4")), half)


def test_tags_survive_under_any_key(tmp_path: Path) -> None:
    tags = {"title": "Ünïcode", "megactor": '{"seed": 7}', "comment": "a\nb"}
    with av.open(str(write(tmp_path / "x.mp4", tags=tags))) as container:
        assert tags.items() <= container.metadata.items()


def test_the_index_comes_first(tmp_path: Path) -> None:
    content = write(tmp_path / "x.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_nothing_is_left_when_the_work_fails(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(b"an earlier result")

    def fail() -> None:
        with VideoWriter(path, video_fps=FPS, width=64, height=48) as writer:
            writer.write(GREY)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"an earlier result"
    assert list(tmp_path.iterdir()) == [path]


def test_a_video_without_frames_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No frame"):
        write(tmp_path / "x.mp4", frames=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "frame", [GREY[:, :-2], GREY[..., :1], GREY.astype(np.float32), GREY.transpose(1, 0, 2), GREY[0]]
)
def test_a_wrong_frame_is_named_with_both_sizes(tmp_path: Path, frame: np.ndarray) -> None:
    with VideoWriter(tmp_path / "x.mp4", video_fps=FPS, width=64, height=48) as writer:
        writer.write(GREY)
        with pytest.raises(ValueError, match=r"frame 1 .*\(48, 64, 3\) uint8"):
            writer.write(frame)
    assert probe_video(tmp_path / "x.mp4").frames == 1


def test_unusable_arguments(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"ends in '\.avi'"):
        VideoWriter(tmp_path / "x.avi", video_fps=FPS, width=64, height=48)
    with pytest.raises(ValueError, match="63 x 48"):
        VideoWriter(tmp_path / "x.mp4", video_fps=FPS, width=63, height=48)
    with pytest.raises(ValueError, match="positive"):
        VideoWriter(tmp_path / "x.mp4", video_fps=Fraction(0), width=64, height=48)
    (tmp_path / "dir.mp4").mkdir()
    with pytest.raises(OutputError, match="folder"):
        VideoWriter(tmp_path / "dir.mp4", video_fps=FPS, width=64, height=48)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Cannot write"):
        VideoWriter(tmp_path / "file" / "x.mp4", video_fps=FPS, width=64, height=48)


def test_a_name_too_long_for_the_disk_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="name too long"):
        write(tmp_path / f"{'x' * 250}.mp4")


def test_a_full_disk_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        write(tmp_path / "x.mp4")
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys, time
from fractions import Fraction
from pathlib import Path
import numpy as np
from megactor_core.media.audio import Sound
from megactor_core.media.video_writer import VideoWriter
sound = Sound(np.zeros((160000, 1), np.float32), 16000)
noise = np.random.default_rng(0)
with VideoWriter(Path(sys.argv[1]), video_fps=Fraction(25), width=64, height=48, sound=sound) as writer:
    for index in range(150):
        writer.write(noise.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_killed_run_leaves_a_playable_partial_and_no_final_file(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    assert not path.exists()
    (partial,) = tmp_path.iterdir()
    # All but what the encoder looks ahead and the fragment that was open.
    assert sum(1 for _ in read_video(partial)) >= 50
    assert read_sound(partial).seconds >= 2


def test_sound_of_other_rates_keeps_its_pitch(tmp_path: Path) -> None:
    sound = chirp(2, audio_hz=11000)
    read = read_sound(write(tmp_path / "x.mp4", frames=50, sound=sound))
    expected = resample(sound, audio_hz=11025)
    assert np.corrcoef(read.samples[:22050, 0], expected.samples[:22050, 0])[0, 1] > 0.99


@pytest.mark.parametrize("side", [64, 96, 160])
def test_the_same_frames_give_the_same_bytes_whatever_memory_held_before(tmp_path: Path, side: int) -> None:
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 255, (6, side // 8, side // 8, 3)).repeat(8, 1).repeat(8, 2)
    frames = np.clip(blocks + rng.integers(-20, 20, blocks.shape), 0, 255).astype(np.uint8)
    seen = set()
    for _ in range(30):
        dirt = [rng.integers(0, 255, size, dtype=np.uint8) for size in rng.integers(1000, 300_000, 30)]
        del dirt
        with VideoWriter(tmp_path / "clip.mp4", video_fps=Fraction(25), width=side, height=side) as writer:
            for frame in frames:
                writer.write(frame)
        seen.add((tmp_path / "clip.mp4").read_bytes())
    assert len(seen) == 1


# ---------------------------------------------------------------- videos that are read frame by frame


def _key_frames(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.pts is not None]
    order = sorted(int(p.pts) for p in packets)
    return [order.index(int(p.pts)) for p in packets if p.is_keyframe]


def _write_noise(path: Path, **options: object) -> Path:
    rng = np.random.default_rng(0)
    with VideoWriter(path, video_fps=Fraction(25), width=64, height=48, **options) as video:
        for _ in range(60):
            video.write(rng.integers(0, 255, (48, 64, 3)).astype(np.uint8))
    return path


def test_key_frames_come_as_often_as_asked_for(tmp_path: Path) -> None:
    often = _key_frames(_write_noise(tmp_path / "often.mp4", gop_frames=6))
    assert max(np.diff([*often, 60])) <= 6
    usual = _key_frames(_write_noise(tmp_path / "usual.mp4"))
    assert max(np.diff([*usual, 60])) <= 25
    assert len(usual) < len(often)


def test_a_higher_rate_factor_takes_less_space(tmp_path: Path) -> None:
    sizes = [_write_noise(tmp_path / f"{crf}.mp4", crf=crf).stat().st_size for crf in (17, 35)]
    assert sizes[1] < sizes[0] / 2


def test_the_defaults_are_those_of_quality_high(tmp_path: Path) -> None:
    plain = _write_noise(tmp_path / "plain.mp4").read_bytes()
    assert _write_noise(tmp_path / "said.mp4", gop_frames=25, crf=17, threads=0).read_bytes() == plain
