"""Writing the video, and the pictures that help to look at it.

Shape legend:  F frames   C latent channels   H, W latent sides   S side of the picture
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from einops import rearrange

from megactor_core.animation.ahead import ahead
from megactor_core.animation.backoff import FRAMES, Batches, Lowering, OnLowered, recorder
from megactor_core.animation.badge import Badge
from megactor_core.animation.conditions import Conditions
from megactor_core.animation.marks import facts_of, seal_of, tags_of
from megactor_core.animation.plan import Plan
from megactor_core.animation.portrait import Portrait
from megactor_core.animation.previews import Previews
from megactor_core.animation.store import FrameFile, RunFolder
from megactor_core.listener import Listener
from megactor_core.media.image import contact_sheet, side_by_side, write_image
from megactor_core.media.video_writer import VideoWriter
from megactor_core.models.autoencoder import Autoencoder
from megactor_core.models.checkpoint import Checkpoint
from megactor_core.provenance.certificates import SigningKey

SHEET_COLUMNS = 8


def write_output(
    job: Plan,
    checkpoint: Checkpoint,
    portrait: Portrait,
    conditions: Conditions,
    latents: FrameFile,
    folder: RunFolder,
    previews: Previews | None,
    listener: Listener,
    key: SigningKey | None = None,
) -> None:
    """Decode the clip's latents, a record (C, H, W) a frame; write video, comparison and contact sheet.

    Frames stream from the decoder into the files; each file appears under its name when it is complete, and
    signed where there is a `key`. Both videos carry the badge; the contact sheet, made for looking at single
    pictures, does not.
    """
    count, size_px = conditions.frames, conditions.size_px
    badge = Badge.of(job.config, frames=count, side_px=size_px)
    facts = facts_of(job, checkpoint, badge)
    look = _Look(portrait.picture, previews, conditions.followed)
    sampled: list[tuple[int, np.ndarray]] = []
    columns = set(np.linspace(0, count - 1, min(SHEET_COLUMNS, count)).round().astype(int).tolist())
    common: dict[str, Any] = {
        "video_fps": job.config.fps,
        "height": size_px,
        "quality": job.config.quality,
        "sound": job.soundtrack,
        "tags": tags_of(facts),
    }
    with ExitStack() as stack:
        seal = seal_of(job.outputs.video, job, facts, key)
        video = stack.enter_context(VideoWriter(job.outputs.video, width=size_px, seal=seal, **common))
        compare = None
        if job.outputs.compare is not None:
            seal = seal_of(job.outputs.compare, job, facts, key)
            compare = stack.enter_context(
                VideoWriter(job.outputs.compare, width=look.tiles * size_px, seal=seal, **common)
            )
        frames = decode_frames(
            checkpoint.autoencoder,
            latents,
            count=count,
            batch=job.config.decode_batch,
            on_lowered=recorder(folder, listener),
        )
        for number, frame in enumerate(frames):
            marked = badge.on(number, frame)
            video.write(marked)
            if compare is not None:
                compare.write(look.side_by_side(number, marked))
            if number in columns:
                sampled.append((number, frame))
            listener.progress("writing", number + 1, count)
    if job.outputs.sheet is not None:
        write_image(job.outputs.sheet, look.sheet(sampled, video_fps=job.config.fps))


def _unheard(lowering: Lowering) -> None:
    """Nobody listens."""


def decode_frames(
    autoencoder: Autoencoder,
    latents: FrameFile,
    *,
    count: int,
    batch: int,
    on_lowered: OnLowered = _unheard,
) -> Iterator[np.ndarray]:
    """The first `count` frames (S, S, 3) uint8 of the latents, read and decoded a batch at a time.

    Where memory runs out, the batch is lowered and `on_lowered` told; raises OutOfMemory where a frame is too
    much.
    """
    weight = next(autoencoder.parameters())

    def decode(numbers: Sequence[int]) -> np.ndarray:
        part = torch.from_numpy(latents.read(numbers[0], numbers[-1] + 1))
        pictures = (autoencoder.decode(part.to(weight)) * 255).round().to(torch.uint8).cpu()
        return rearrange(pictures, "n c h w -> n h w c").numpy()

    batches = Batches(FRAMES, batch, device=weight.device, on_lowered=on_lowered)
    for _, frames in ahead(batches.run(decode, range(count))):
        yield from frames


class _Look:
    """Portrait and driver beside the result."""

    def __init__(self, portrait: np.ndarray, previews: Previews | None, followed: list[int]) -> None:
        self._portrait, self._previews, self._followed = portrait, previews, followed

    @property
    def tiles(self) -> int:
        return 2 if self._previews is None else 3

    def side_by_side(self, number: int, frame: np.ndarray) -> np.ndarray:
        """Portrait, driver (where there is one) and result."""
        driver = [] if self._previews is None else [self._previews.driver(self._followed[number])]
        return side_by_side([self._portrait, *driver, frame], height=len(frame))

    def sheet(self, sampled: list[tuple[int, np.ndarray]], *, video_fps: Fraction) -> np.ndarray:
        """Rows portrait, driver, patches, result; columns the sampled times."""
        rows = {"portrait": [self._portrait for _ in sampled]}
        if self._previews is not None:
            followed = [self._followed[number] for number, _ in sampled]
            rows["driver"] = [self._previews.driver(frame) for frame in followed]
            rows["patches"] = [self._previews.patches(frame) for frame in followed]
        rows["result"] = [frame for _, frame in sampled]
        return contact_sheet(
            list(rows.values()),
            row_labels=list(rows),
            column_labels=[f"{float(number / video_fps):.2f} s" for number, _ in sampled],
        )
