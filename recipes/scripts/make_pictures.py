"""The pictures of README.md: python recipes/scripts/make_pictures.py docs/pictures

What bare `megactor animate` makes of the built-in example at several strengths: `strengths.png`, frames below
each other, and `example.webp`, moving. Both show the embedded checkpoint as it is.
"""

import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from megactor_core.animation.animate import animate
from megactor_core.config.animate import AnimateConfig
from megactor_core.media.image import contact_sheet, read_image, side_by_side, write_image
from megactor_core.media.video import read_video

EXAMPLE = Path(__file__).parents[2] / "megactor_core" / "assets" / "example"
INPUTS = {
    "reference": EXAMPLE / "portrait.png",
    "driving": EXAMPLE / "driving.mp4",
    "audio": EXAMPLE / "speech.wav",
}
VIDEO_FPS = Fraction(25)
COLUMNS, TILE_PX, MOVING_PX = 8, 120, 160
MOVING_FPS = Fraction(25, 2)
ROWS = {
    "audio_scale 1, alpha 1": {},
    "audio_scale 0": {"audio_scale": 0},
    "audio_scale 2": {"audio_scale": 2},
    "alpha 0": {"alpha": 0},
    "alpha 2": {"alpha": 2},
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        clips = {"driver": EXAMPLE / "driving.mp4"}
        for number, (name, strengths) in enumerate(ROWS.items()):
            clips[name] = Path(scratch) / f"{number}.mp4"
            settings = INPUTS | {"output": clips[name], "badge": "off", **strengths}
            animate(AnimateConfig.build(settings, source=__file__))
        frames = {name: list(read_video(clip, video_fps=VIDEO_FPS)) for name, clip in clips.items()}
    write_image(folder / "strengths.png", _sheet(frames))
    _write_moving(folder / "example.webp", frames)


def _sheet(frames: dict[str, list[np.ndarray]]) -> np.ndarray:
    moments = np.linspace(0, min(map(len, frames.values())) - 1, COLUMNS).round().astype(int)
    rows = [[clip[moment] for moment in moments] for clip in frames.values()]
    seconds = [f"{float(moment / VIDEO_FPS):.1f} s" for moment in moments.tolist()]
    return contact_sheet(rows, row_labels=list(frames), column_labels=seconds, tile_px=TILE_PX)


def _write_moving(path: Path, frames: dict[str, list[np.ndarray]]) -> None:
    """Portrait, driver and result beside each other, at half the frame rate."""
    portrait = read_image(EXAMPLE / "portrait.png")
    pairs = zip(frames["driver"][::2], frames[next(iter(ROWS))][::2], strict=False)
    pictures = [Image.fromarray(side_by_side([portrait, *pair], height=MOVING_PX)) for pair in pairs]
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=int(1000 / MOVING_FPS), loop=0, quality=60
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
