"""Animated clips beside the true one, a row a take, as pictures to look at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from megactor_core.config.claims import ClaimsConfig
from megactor_core.evaluation.take_measures import TrueClip
from megactor_core.evaluation.takes import Take, video_of
from megactor_core.media.image import contact_sheet, write_image
from megactor_core.media.video import read_video

STRIPS: Final = "strips"
COLUMNS: Final = 8
"""Frames of a strip, evenly over the clip."""


def write_strips(takes: Sequence[Take], true: Sequence[TrueClip], config: ClaimsConfig) -> list[Path]:
    """A PNG a clip under `strips/`: true frames, the driver's, and every take's with the first seed."""
    paths = []
    for one in true:
        chosen = np.linspace(0, config.frames - 1, COLUMNS).round().astype(int).tolist()
        rows = [one.frames[chosen], one.clip.sample.read_driver_frames(chosen)]
        labels = ["truth", "driver"]
        for take in takes:
            video = video_of(take, one.clip, config.seeds[0], config)
            if video.is_file():
                frames = list(read_video(video))
                rows.append(np.stack([frames[index] for index in chosen]))
                labels.append(take.name)
        path = config.output / STRIPS / f"{one.clip.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = [f"frame {index}" for index in chosen]
        write_image(path, contact_sheet(rows, row_labels=labels, column_labels=columns, tile_px=128))
        paths.append(path)
    return paths
