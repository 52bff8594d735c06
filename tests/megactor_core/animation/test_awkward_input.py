"""Awkward and broken input through the real command: the right result, or exit 2 with one clear message.

Whatever happens: no traceback, nothing under the final name but a whole video, no input changed.
"""

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from megactor_cli.app import run as run_command
from megactor_core.media.image import write_image
from megactor_core.media.video import probe_video, read_video
from megactor_core.media.video_writer import VideoWriter

pytestmark = pytest.mark.slow  # whole runs


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str
    output: Path

    @property
    def result(self) -> dict[str, Any]:
        return json.loads(self.out)


Attempt = Callable[..., Outcome]


@pytest.fixture
def attempt(
    media: Path, speaking_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Attempt:
    """Run `megactor animate --json` and check what must hold for any input."""

    def attempt(
        *,
        reference: Path | None = None,
        driving: Path | None = None,
        audio: Path | None = None,
        output: Path | None = None,
        extra: tuple[str, ...] = (),
    ) -> Outcome:
        reference = reference or media / "portrait.png"
        output = output or tmp_path / "results" / "out.mp4"
        arguments = ["animate", "--json", f"--reference={reference}", f"--checkpoint={speaking_checkpoint}"]
        arguments += [f"--output={output}", "--steps=1", "--guidance=1", *extra]
        arguments += [f"--driving={driving}"] if driving else []
        arguments += [f"--audio={audio}"] if audio else []
        inputs = [path for path in (reference, driving, audio) if path and path.is_file()]
        before = [sha256(path.read_bytes()).hexdigest() for path in inputs]
        code = run_command(arguments)
        captured = capsys.readouterr()
        assert [sha256(path.read_bytes()).hexdigest() for path in inputs] == before
        assert "Traceback" not in captured.err + captured.out
        if output.parent.is_dir():
            partial = [p.name for p in output.parent.iterdir() if "partial" in p.name]
            assert partial == []
        if code == 0:
            assert len(list(read_video(output))) == json.loads(captured.out)["frames"]
        return Outcome(code, captured.out, captured.err, output)

    return attempt


def assert_refused(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 2, outcome
    error = json.loads(outcome.out)["error"]
    for word in words:
        assert word in error["message"]
    assert error["fix"]
    assert not outcome.output.exists()


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def wav_header_that_lies() -> bytes:
    claimed = 0xFFFFFFF0
    form = struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
    return b"RIFF" + struct.pack("<I", claimed) + b"WAVEfmt " + struct.pack("<I", 16) + form + b"data"


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "zeros": lambda good: bytes(5000),
    "text": lambda good: b"#!/bin/sh\necho this is no media file\n",
    "truncated": lambda good: good[: len(good) // 8],
    "playlist": lambda good: b"ffconcat version 1.0\nfile driver.mp4\n",
}


@pytest.mark.parametrize("damage", BROKEN)
@pytest.mark.parametrize("kind", ["reference", "driving", "audio"])
def test_broken_files(attempt: Attempt, media: Path, tmp_path: Path, kind: str, damage: str) -> None:
    good = {"reference": "portrait.png", "driving": "driver.mp4", "audio": "speech.wav"}[kind]
    bad = tmp_path / f"bad {good}"
    bad.write_bytes(BROKEN[damage]((media / good).read_bytes()))
    drivers = {} if kind != "reference" else {"driving": media / "driver.mp4"}
    outcome = attempt(**{kind: bad}, **drivers)
    if (kind, damage) == ("audio", "truncated"):
        assert outcome.code == 0  # an eighth of the samples is a shorter sound
        assert outcome.result["seconds"] == pytest.approx(0.15, abs=0.03)
    else:
        assert_refused(outcome, str(bad))


@pytest.mark.parametrize("kind", ["reference", "driving", "audio"])
def test_missing_files_and_folders(attempt: Attempt, media: Path, tmp_path: Path, kind: str) -> None:
    drivers = {} if kind != "reference" else {"driving": media / "driver.mp4"}
    assert_refused(attempt(**{kind: tmp_path / "nobody.bin"}, **drivers), "nobody.bin")
    folder = tmp_path / "folder"
    folder.mkdir()
    assert_refused(attempt(**{kind: folder}, **drivers), "folder")


def test_files_of_another_kind(attempt: Attempt, media: Path) -> None:
    video, image, sound = media / "driver.mp4", media / "portrait.png", media / "speech.wav"
    assert_refused(attempt(reference=video, audio=sound), "driver.mp4")
    assert_refused(attempt(reference=sound, audio=sound), "speech.wav")
    assert_refused(attempt(driving=image), "portrait.png")
    assert_refused(attempt(driving=sound), "speech.wav")
    assert_refused(attempt(audio=image), "portrait.png")


def test_video_without_sound_as_audio(attempt: Attempt, media: Path) -> None:
    assert_refused(attempt(audio=media / "driver.mp4"), "driver.mp4", "sound")


def test_huge_headers(attempt: Attempt, media: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_header(100_000, 100_000))
    assert_refused(attempt(reference=bomb, audio=media / "speech.wav"), "bomb.png")
    liar = tmp_path / "liar.wav"
    liar.write_bytes(wav_header_that_lies() + struct.pack("<I", 0xFFFFFF00) + bytes(3200))
    outcome = attempt(audio=liar)
    assert outcome.code == 2 or outcome.result["seconds"] < 1


def test_no_face(attempt: Attempt, media: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (20, 144, 192, 3), dtype=np.uint8)
    write_image(tmp_path / "noise.png", noise[0])
    assert_refused(attempt(reference=tmp_path / "noise.png", audio=media / "speech.wav"), "noise.png", "face")
    with VideoWriter(tmp_path / "noise.mp4", video_fps=Fraction(25), width=192, height=144) as writer:
        for frame in noise:
            writer.write(frame)
    assert_refused(attempt(driving=tmp_path / "noise.mp4"), "noise.mp4", "face")


def test_square_crop_needs_no_face_for_sound(attempt: Attempt, media: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "grey.png", np.full((90, 200, 3), 128, np.uint8))
    outcome = attempt(
        reference=tmp_path / "grey.png", audio=media / "speech.wav", extra=("--set", "crop.mode=square")
    )
    assert outcome.code == 0


def test_face_number_that_is_not_there(
    attempt: Attempt, media: Path, face_frames: list[np.ndarray], tmp_path: Path
) -> None:
    write_image(tmp_path / "two.png", np.concatenate([face_frames[0], face_frames[5]], axis=1))
    outcome = attempt(reference=tmp_path / "two.png", audio=media / "speech.wav", extra=("--face", "7"))
    assert_refused(outcome, "7", "two.png")
    assert (
        attempt(reference=tmp_path / "two.png", audio=media / "speech.wav", extra=("--face", "1")).code == 0
    )


# Sounds


@pytest.mark.parametrize(
    ("name", "audio_hz", "channels"),
    [
        ("8 kHz.wav", 8_000, 1),
        ("5.1.wav", 48_000, 6),
        ("odd rate.wav", 11_111, 2),
        ("hi-res.flac", 96_000, 2),
        ("sprache-ä-声.ogg", 44_100, 1),
        ("silent.wav", 16_000, 1),
    ],
)
def test_awkward_sounds(
    attempt: Attempt, tmp_path: Path, speech: np.ndarray, name: str, audio_hz: int, channels: int
) -> None:
    samples = np.interp(np.arange(audio_hz) / audio_hz, np.arange(16_000) / 16_000, speech)
    if name.startswith("silent"):
        samples = samples * 0
    soundfile.write(tmp_path / name, np.repeat(samples[:, None], channels, axis=1), audio_hz)
    outcome = attempt(audio=tmp_path / name)
    assert outcome.code == 0, outcome
    assert outcome.result["frames"] == 25
    assert ("silent" in outcome.err) == name.startswith("silent")
    with av.open(str(outcome.output)) as container:
        sound = container.streams.audio[0]
        assert abs(float(sound.duration * sound.time_base) - 1) <= 0.5 / 25
        assert sound.channels == channels
        if audio_hz in (8_000, 48_000, 96_000, 44_100, 16_000):
            assert sound.rate == audio_hz


def test_a_single_sample_of_sound(attempt: Attempt, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "click.wav", np.array([0.5]), 16_000)
    outcome = attempt(audio=tmp_path / "click.wav")
    assert (outcome.code, outcome.result["frames"]) == (0, 1)


# Videos


def clip(path: Path, frames: list[np.ndarray], *, video_fps: int) -> Path:
    with VideoWriter(path, video_fps=Fraction(video_fps), width=192, height=144) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def test_one_frame(attempt: Attempt, face_frames: list[np.ndarray], media: Path, tmp_path: Path) -> None:
    one = clip(tmp_path / "one.mp4", face_frames[:1], video_fps=25)
    assert attempt(driving=one).result["frames"] == 1
    assert attempt(driving=one, audio=media / "speech.wav").result["frames"] == 30


def test_200_fps(attempt: Attempt, face_frames: list[np.ndarray], tmp_path: Path) -> None:
    fast = clip(tmp_path / "fast.mp4", face_frames + face_frames[::-1], video_fps=200)
    outcome = attempt(driving=fast)
    assert outcome.result["frames"] == round(60 / 200 * 25)
    assert probe_video(outcome.output).video_fps == 25


def test_names_that_look_like_something_else(
    attempt: Attempt, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(
        ["-rf.mp4", "http:x.mp4", "名 前 é.mp4", "a;b$(c)`d`.mp4", "%d.mp4", "concat:a|b"]
    ):
        Path(name).write_bytes((media / "driver.mp4").read_bytes())
        outcome = attempt(driving=Path(name), output=tmp_path / "o" / f"{number} ü.mp4")
        assert outcome.code == 0, (name, outcome)
        assert outcome.result["frames"] == 20


# Outputs


def test_unwritable_output(attempt: Attempt, media: Path) -> None:
    outcome = attempt(audio=media / "speech.wav", output=Path("/proc/megactor/out.mp4"))
    assert_refused(outcome, "/proc/megactor")


def test_same_path_in_and_out(attempt: Attempt, media: Path, tmp_path: Path) -> None:
    driver = tmp_path / "mine.mp4"
    driver.write_bytes((media / "driver.mp4").read_bytes())
    outcome = attempt(driving=driver, output=driver)
    assert outcome.code == 2
    assert "input" in json.loads(outcome.out)["error"]["message"]


def test_float16_on_a_cpu_and_devices_that_are_not_there(attempt: Attempt, media: Path) -> None:
    speech = media / "speech.wav"
    assert_refused(attempt(audio=speech, extra=("--dtype", "float16", "--device", "cpu")), "float16")
    assert_refused(attempt(audio=speech, extra=("--device", "abacus")), "abacus")
    assert_refused(attempt(audio=speech, extra=("--device", "meta")), "meta")
    assert attempt(audio=speech, extra=("--dtype", "bfloat16", "--device", "cpu")).code == 0


def test_file_names_that_are_no_utf8(media: Path, speaking_checkpoint: Path, tmp_path: Path) -> None:
    """Old archives name files in Latin-1; JSON has an escape for such bytes."""
    portrait = tmp_path / os.fsdecode(b"caf\xe9.png")
    portrait.write_bytes((media / "portrait.png").read_bytes())
    command = [sys.executable, "-m", "megactor_cli", "animate", "--json", "--steps=1", "--seconds=0.2"]
    command += [f"--reference={portrait}", f"--audio={media / 'speech.wav'}"]
    command += [f"--checkpoint={speaking_checkpoint}", f"--output={portrait.with_suffix('.mp4')}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(json.loads(done.stdout)["output"]).exists()
    description = json.loads(portrait.with_suffix(".mp4.json").read_text(encoding="utf-8"))
    assert description["inputs"]["reference"]["path"] == str(portrait)
