"""What a detector sees of the synthetic corpus, and what a clip costs.

    OMP_NUM_THREADS=1 python tests/benchmarks/corpus.py [SEED ...]

For every seed (0 and 1 where none is given) a corpus of 20 people is made as `megactor synth` makes it, 3 s
each at 256 pixels. The default back end looks for the face in the decoded mp4 files, and what it sees is
correlated with the truth files: over all frames together, and as the median over clips.

Then a few clips at each size for the cost of one with its encoding, without any worker process.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from measure import cpu_seconds

from megactor_core.config.synth import SynthConfig
from megactor_core.faces.headpose import head_pose
from megactor_core.faces.landmarks import detect_landmarks
from megactor_core.faces.openings import openings
from megactor_core.media.video import read_video
from megactor_core.synthetic.corpus import MANIFEST_FILE, make_corpus
from megactor_core.synthetic.truth import Truth, read_truth

CLIPS = 20
SEEDS = (0, 1)
SIZE_PX = 256
YAW_LIMIT_DEGREES = 35.0
NEAR = 0.1
"""A found face is the right one if its nose is this near the true one, as a share of the picture's side."""
COST_SIZES_PX = (128, 256, 512)
COST_CLIPS = 4
COST_ROUNDS = 3


@dataclass(frozen=True)
class Seen:
    """A clip of F frames: what was detected, points (F, 68, 2), where it was found (F,), and the truth."""

    points: np.ndarray
    found: np.ndarray
    truth: Truth

    def track(self, name: str) -> np.ndarray:
        return self.truth.performance.track(name)


Track = Callable[[Seen], np.ndarray]


def head_angle(axis: int) -> Track:
    """Detected yaw (0), pitch (1) or roll (2) in degrees, (F,)."""
    return lambda seen: head_pose(seen.points, frame_width=SIZE_PX, frame_height=SIZE_PX)[:, axis]


PAIRS: dict[str, tuple[Track, Track]] = {
    "yaw": (head_angle(0), lambda seen: seen.track("yaw_degrees")),
    "pitch": (head_angle(1), lambda seen: seen.track("pitch_degrees")),
    "roll": (head_angle(2), lambda seen: seen.track("roll_degrees")),
    "mouth opening, track": (
        lambda seen: openings(seen.points).mouth_open,
        lambda seen: seen.track("mouth_open"),
    ),
    "mouth opening, points": (
        lambda seen: openings(seen.points).mouth_open,
        lambda seen: openings(seen.truth.points).mouth_open,
    ),
    "eye openness, track": (
        lambda seen: openings(seen.points).eyes_open.mean(axis=-1),
        lambda seen: seen.track("eye_open"),
    ),
    "eye openness, points": (
        lambda seen: openings(seen.points).eyes_open.mean(axis=-1),
        lambda seen: openings(seen.truth.points).eyes_open.mean(axis=-1),
    ),
    "brow height, points": (
        lambda seen: openings(seen.points).brows_height.mean(axis=-1),
        lambda seen: openings(seen.truth.points).brows_height.mean(axis=-1),
    ),
}
"""By name: what the detector sees, and the truth."""


def see_corpus(seed: int) -> list[Seen]:
    """Make a corpus of one clip a person, and look at it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_corpus(
            SynthConfig(output=folder, clips=CLIPS, identities=CLIPS, size=SIZE_PX, seed=seed, workers=0)
        )
        rows = pq.read_table(folder / MANIFEST_FILE).to_pylist()
        return [_see(folder / row["source_uri"], read_truth(folder / row["truth_path"])) for row in rows]


def _see(video: Path, truth: Truth) -> Seen:
    points = detect_landmarks(read_video(video)).points
    away = np.linalg.norm(points[:, 30] - truth.points[:, 30], axis=-1)
    return Seen(points, away < NEAR * SIZE_PX, truth)


def lines(clips: list[Seen]) -> Iterator[str]:
    """The share of frames with a face, and a line for every pair of tracks."""
    in_range = [np.abs(clip.track("yaw_degrees")) <= YAW_LIMIT_DEGREES for clip in clips]
    found = np.concatenate([clip.found[near] for clip, near in zip(clips, in_range, strict=True)])
    limit = f"{YAW_LIMIT_DEGREES:.0f} degrees"
    yield f"face found in {found.mean():.2%} of {len(found)} frames with yaw up to {limit}"
    yield "| track | all frames | median of clips | least clip |\n|---|---|---|---|"
    for name, (detected, true) in PAIRS.items():
        tracks = [(detected(clip)[clip.found], true(clip)[clip.found]) for clip in clips]
        everything = correlation(*(np.concatenate(part) for part in zip(*tracks, strict=True)))
        by_clip = [correlation(*pair) for pair in tracks]
        yield f"| {name} | {everything:.3f} | {statistics.median(by_clip):.3f} | {min(by_clip):.3f} |"


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's."""
    return float(np.corrcoef(a, b)[0, 1])


def cost_line(size_px: int) -> str:
    """Clips a minute of one core, from CPU seconds: sound, pictures, H.264, truth."""

    def make() -> None:
        with tempfile.TemporaryDirectory() as folder:
            make_corpus(
                SynthConfig(
                    output=Path(folder), clips=COST_CLIPS, identities=COST_CLIPS, size=size_px, workers=0
                )
            )

    make()
    seconds = min(cpu_seconds(make) for _ in range(COST_ROUNDS)) / COST_CLIPS
    return f"| {size_px} | {seconds:.2f} | {60 / seconds:.0f} |"


def main() -> None:
    cv2.setNumThreads(1)
    for seed in [int(word) for word in sys.argv[1:]] or SEEDS:
        sys.stdout.write(f"seed {seed}: {CLIPS} clips\n")
        for line in lines(see_corpus(seed)):
            sys.stdout.write(line + "\n")
    sys.stdout.write(
        "\n| side, pixels | CPU seconds a clip of 3 s | clips a minute and core |\n|---|---|---|\n"
    )
    for size_px in COST_SIZES_PX:
        sys.stdout.write(cost_line(size_px) + "\n")


if __name__ == "__main__":
    main()
