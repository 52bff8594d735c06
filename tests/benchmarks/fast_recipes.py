"""What the fast recipes save, and how far their pictures are from those of `paper`.

python tests/benchmarks/fast_recipes.py [CHECKPOINT], 6 minutes: two seconds of the embedded example by each
recipe, through the checkpoint (the embedded one). Evaluations of the denoiser a frame are counted as it runs.
Deviations are of the frames before they are coded (`lossless`, no badge): PSNR, mean difference in grey
levels of 255, the distance of the 68 landmarks as a share of the face's width, and the correlation of the
mouths' openings over time. With the recipes' guidance and with a mild one, since the embedded checkpoint was
not trained for any; at the end by its own settings.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from megactor_core.animation.animate import animate
from megactor_core.config.animate import AnimateConfig
from megactor_core.config.recipes import load_config
from megactor_core.demo.example import example
from megactor_core.faces.landmarks import detect_landmarks
from megactor_core.faces.openings import openings
from megactor_core.media.video import read_video
from megactor_core.metrics.picture import psnr
from megactor_core.models.dit import Denoiser

SECONDS = 2.0
OF_PAPER, OF_DEFAULT = ("fast-steps", "fast-guidance", "fast-both"), "fast-default"
GUIDANCES = (4.5, 1.5)
Frames = np.ndarray
"""(F, H, W, 3) uint8 RGB."""


class Evaluations:
    """Counts the frames that go through the denoiser."""

    def __init__(self) -> None:
        self.frames = 0
        forward = Denoiser.forward

        def counting(denoiser: Denoiser, latents: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
            self.frames += latents.shape[0] * latents.shape[1]
            return forward(denoiser, latents, *rest, **named)

        Denoiser.forward = counting  # type: ignore[method-assign]


def animated(
    folder: Path, counted: Evaluations, checkpoint: Path | None, recipe: str | None, **settings: Any
) -> tuple[Frames, float]:
    """The frames, and how often the denoiser saw each."""
    given = example()
    options = {
        "reference": given.reference,
        "driving": given.driving,
        "audio": given.audio,
        "checkpoint": checkpoint,
        "output": folder / f"{recipe}-{len(list(folder.iterdir()))}.mp4",
        "seconds": SECONDS,
        "quality": "lossless",
        "badge": "off",
        "provenance": False,
    }
    config = load_config(
        AnimateConfig, command="animate", recipe=recipe, overrides=(), options={**options, **settings}
    )
    before = counted.frames
    report = animate(config)
    frames = np.stack(list(read_video(report.output)))
    return frames, (counted.frames - before) / len(frames)


def deviation(frames: Frames, base: Frames) -> str:
    """In the terms of the module's text."""
    points, base_points = (detect_landmarks(list(clip)).points for clip in (frames, base))
    distance = np.linalg.norm(points - base_points, axis=2).mean(axis=1)
    width = np.ptp(base_points[..., 0], axis=1)
    mouths = [openings(found).mouth_open for found in (points, base_points)]
    known = np.isfinite(mouths).all(axis=0)
    return (
        f"{psnr(base, frames).mean():5.1f} dB  {np.abs(frames.astype(int) - base).mean():5.2f} levels  "
        f"landmarks {np.nanmean(distance / width):.2%} of the face  "
        f"mouth r {np.corrcoef(*np.array(mouths)[:, known])[0, 1]:.3f}"
    )


def lines(checkpoint: Path | None) -> Iterator[str]:
    counted = Evaluations()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for guidance in GUIDANCES:
            base, evaluations = animated(folder, counted, checkpoint, "paper", guidance=guidance)
            size = f"{len(base)} frames of {base.shape[1]} px"
            yield f"paper, guidance {guidance:g}: {evaluations:g} evaluations a frame, {size}"
            for recipe in OF_PAPER:
                frames, evaluations = animated(folder, counted, checkpoint, recipe, guidance=guidance)
                yield f"  {recipe:14} {evaluations:4g}  {deviation(frames, base)}"
        base, evaluations = animated(folder, counted, checkpoint, None)
        yield f"the checkpoint's own settings: {evaluations:g} evaluations a frame"
        for steps in (3, 2, 1):
            frames, evaluations = animated(folder, counted, checkpoint, OF_DEFAULT, steps=steps)
            yield f"  {OF_DEFAULT}, steps={steps} {evaluations:2g}  {deviation(frames, base)}"
        frames, evaluations = animated(folder, counted, checkpoint, None, dtype="bfloat16")
        yield f"  {'bfloat16':14} {evaluations:4g}  {deviation(frames, base)}"


def main() -> int:
    torch.set_num_threads(1)
    for line in lines(Path(sys.argv[1]) if len(sys.argv) > 1 else None):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
