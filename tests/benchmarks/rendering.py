"""How fast synthetic faces are rendered: frames per CPU second of one thread, and what an identity costs.

    OMP_NUM_THREADS=1 python tests/benchmarks/rendering.py

A frame is everything `FaceRenderer.render` does for one state of a moving, speaking head. The control renders
the same frames with a second renderer of the same identity.
"""

import statistics
import sys
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from measure import CONTROL_TOLERANCE, cpu_seconds, interleaved, ratio, spread

from megactor_core.synthetic.face import FaceRenderer
from megactor_core.synthetic.identity import Identity, draw_identity
from megactor_core.synthetic.state import FaceState

SIZES_PX = (128, 256, 512)
FRAMES = 25
IDENTITIES = 4


def states() -> list[FaceState]:
    """A second of a head that turns, nods, speaks and blinks."""
    seconds = np.arange(FRAMES) / 25
    return [
        FaceState(
            yaw_degrees=float(20 * np.sin(5 * t)),
            pitch_degrees=float(8 * np.sin(3 * t + 1)),
            roll_degrees=float(6 * np.sin(4 * t + 2)),
            mouth_open=float(0.5 + 0.5 * np.sin(25 * t)),
            mouth_wide=float(np.sin(17 * t)),
            smile=float(0.5 * np.sin(2 * t)),
            eye_open=float(np.clip(3 * np.abs(np.sin(3 * t)), 0, 1)),
            gaze_x=float(np.sin(4 * t)),
            brow=float(np.sin(6 * t)),
        )
        for t in seconds
    ]


def main() -> int:
    cv2.setNumThreads(1)
    people = [draw_identity(seed) for seed in range(IDENTITIES)]
    clip = states()
    noisy = False
    sys.stdout.write(
        "| side, pixels | frames a CPU second | set-up, CPU ms | control of equals |\n|---|---|---|---|\n"
    )
    for size_px in SIZES_PX:
        first, second = interleaved(_works(people, clip, size_px)).values()
        per_second = len(people) * len(clip) / statistics.median(first)
        setup_ms = 1000 * statistics.median(_setup_seconds(people, size_px))
        control = ratio(first, second)
        noisy |= abs(control - 1) > CONTROL_TOLERANCE
        sys.stdout.write(
            f"| {size_px} | {per_second:.0f} | {setup_ms:.0f} | {control:.3f} ({spread(first, second)}) |\n"
        )
    return int(noisy)


def _setup_seconds(people: list[Identity], size_px: int) -> list[float]:
    return [cpu_seconds(partial(FaceRenderer, person, size_px=size_px)) for person in people]


def _works(people: list[Identity], clip: list[FaceState], size_px: int) -> dict[str, Callable[[], None]]:
    first, second = ([FaceRenderer(person, size_px=size_px) for person in people] for _ in range(2))

    def render(renderers: list[FaceRenderer]) -> None:
        for renderer in renderers:
            for state in clip:
                renderer.render(state)

    return {"rendered": lambda: render(first), "rendered again": lambda: render(second)}


if __name__ == "__main__":
    raise SystemExit(main())
