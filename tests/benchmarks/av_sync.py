"""How well `metrics.av_sync` finds known offsets: python tests/benchmarks/av_sync.py CORPUS [VIDEO ...]

CORPUS is a folder of `megactor synth` with the fault av_offset, for instance

    megactor synth --output CORPUS --set clips=60 --set faults.enabled=true --set faults.share=0.94 \
        --set 'faults.kinds=[av_offset]'

Landmarks are those of the default back end on the decoded clips. Unrelated pairs, every face with the sound
of another clip, show what the confidence of 1 stands for. Videos beyond the corpus are measured as they are,
then with their sound 5 frames earlier and 5 later: the offset has to follow.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy.signal import butter, sosfilt

from megactor_core.faces.landmarks import detect_landmarks
from megactor_core.media.audio import read_sound, to_mono
from megactor_core.media.video import read_video
from megactor_core.metrics.av_sync import AUDIO_HZ, SYNC_FPS, AVSync, av_sync

SHIFT_FRAMES = 5
SAMPLES_PER_FRAME = int(AUDIO_HZ / SYNC_FPS)
NOISE_DB = -10


@dataclass(frozen=True)
class Clip:
    """What is measured, points (F, 68, 2) and sound (N,), and the true offset."""

    points: np.ndarray
    sound: np.ndarray
    offset: int = 0


def read_clip(path: Path, *, offset: int = 0) -> Clip:
    """Landmarks and sound of a file at 25 frames a second."""
    track = detect_landmarks(read_video(path, video_fps=Fraction(SYNC_FPS)))
    return Clip(track.points, to_mono(read_sound(path)), offset)


def read_corpus(folder: Path) -> list[Clip]:
    """The clips of a corpus that have no fault or an offset."""
    rows = pq.read_table(folder / "manifest.parquet").to_pylist()
    return [
        read_clip(folder / row["source_uri"], offset=int(row["fault_size"] or 0))
        for row in rows
        if row["fault"] in (None, "av_offset")
    ]


def measure(points: np.ndarray, sound: np.ndarray) -> AVSync:
    """At 25 frames a second."""
    return av_sync(points, sound, video_fps=float(SYNC_FPS))


def in_noise(sound: np.ndarray) -> np.ndarray:
    """White noise at 10 dB below the sound."""
    noise = np.random.default_rng(1).normal(size=len(sound)) * sound.std() * 10 ** (NOISE_DB / 20)
    return (sound + noise).astype(np.float32)


def by_telephone(sound: np.ndarray) -> np.ndarray:
    """300 to 3400 Hz only."""
    band = butter(6, [300, 3400], "band", fs=AUDIO_HZ, output="sos")
    return np.asarray(sosfilt(band, sound), dtype=np.float32)


def corpus_lines(clips: list[Clip]) -> Iterator[str]:
    """How often the offset is right, as it is, in noise and by telephone; and what strangers reach."""
    for name, damaged in (("as is", np.asarray), ("noise", in_noise), ("telephone", by_telephone)):
        yield f"{name:9}  {_hits(clips, [measure(clip.points, damaged(clip.sound)) for clip in clips])}"
    strangers = [
        measure(face.points, clips[(i + step) % len(clips)].sound).confidence
        for i, face in enumerate(clips)
        for step in (1, 2, 3, 5)
    ]
    yield (
        f"unrelated  {len(strangers)} pairs  clear {np.mean(np.array(strangers) >= 1):6.1%}"
        f"  confidence median {np.median(strangers):.2f}, 95 % below {np.quantile(strangers, 0.95):.2f}"
    )
    start = time.process_time()
    for clip in clips:
        measure(clip.points, clip.sound)
    taken = (time.process_time() - start) / len(clips)
    yield f"CPU time once landmarks are there: {1000 * taken:.1f} ms a clip"


def _hits(clips: list[Clip], found: list[AVSync]) -> str:
    errors = np.array(
        [
            np.inf if sync.offset_frames is None else abs(sync.offset_frames - clip.offset)
            for sync, clip in zip(found, clips, strict=True)
        ]
    )
    confidence = [sync.confidence for sync in found]
    return (
        f"{len(clips)} clips  exact {np.mean(errors == 0):6.1%}  within 1 {np.mean(errors <= 1):6.1%}"
        f"  clear {np.mean([sync.is_clear for sync in found]):6.1%}"
        f"  confidence least {min(confidence):.2f}, median {np.median(confidence):.2f}"
    )


def video_line(path: Path) -> str:
    """Offset of a file, and how it follows its sound."""
    clip = read_clip(path)
    shift = SHIFT_FRAMES * SAMPLES_PER_FRAME
    late = np.concatenate([np.zeros(shift, np.float32), clip.sound])
    found = measure(clip.points, clip.sound)
    if found.offset_frames is None:
        return f"{path.name:40}  {found.reason}"
    return (
        f"{path.name:40}  {len(clip.points) / float(SYNC_FPS):5.1f} s  offset {found.offset_frames:+3d}"
        f"  correlation {found.correlation:.2f}  margin {found.margin:.2f}"
        f"  confidence {found.confidence:.2f}"
        f"  sound early {measure(clip.points, clip.sound[shift:]).offset_frames:+3d}"
        f"  late {measure(clip.points, late).offset_frames:+3d}"
    )


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for line in corpus_lines(read_corpus(Path(sys.argv[1]))):
        sys.stdout.write(line + "\n")
    for name in sys.argv[2:]:
        sys.stdout.write(video_line(Path(name)) + "\n")


if __name__ == "__main__":
    main()
