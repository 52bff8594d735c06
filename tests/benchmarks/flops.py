"""The counted work at a model's size, as the table of docs/performance.md: python tests/benchmarks/flops.py

Another preset: python tests/benchmarks/flops.py small
"""

import sys
from collections.abc import Iterator

from megactor_core.config.model import ModelConfig
from megactor_core.models.flops import (
    count_clip,
    count_denoiser,
    count_reference,
    count_reference_keys,
    count_step,
)

WINDOW_FRAMES = 16
VIDEO_FPS = 25
Row = tuple[str, float]


def rows(config: ModelConfig) -> Iterator[Row]:
    """What is counted, and its GFLOP."""
    yield from frame_rows(config)
    size_px = config.native_px
    yield "reference forward, a step", count_reference(config, size_px=size_px) / 1e9
    yield "reference keys and values, a step", count_reference_keys(config, size_px=size_px) / 1e9
    yield from clip_rows(config)
    yield from step_rows(config)


def frame_rows(config: ModelConfig) -> Iterator[Row]:
    work = count_denoiser(config, frames=WINDOW_FRAMES, size_px=config.native_px)
    frame = {part: flops / WINDOW_FRAMES / 1e9 for part, flops in work.items()}
    for part, giga in frame.items():
        yield f"{part}, a frame", giga
    without = frame["spatial"] + frame["audio attention"]
    yield "denoiser without temporal modules and reference, a frame", without
    yield "denoiser without temporal modules, a frame", without + frame["reference attention"]


def clip_rows(config: ModelConfig) -> Iterator[Row]:
    """A clip of one frame and no driving frame: one picture of each kind."""
    once = count_clip(
        config, frames=1, driving_frames=0, sound_seconds=1 / VIDEO_FPS, size_px=config.native_px
    )
    sound = "a chunk of 30 s" if config.audio.encoder == "whisper" else "a frame"
    units = {
        "driven encoder": "a picture",
        "audio encoder": sound,
        "encode": "a picture",
        "decode": "a frame",
    }
    for part, flops in once.items():
        yield f"{part}, {units[part]}", flops / 1e9


def step_rows(config: ModelConfig) -> Iterator[Row]:
    for guidance in (False, True):
        step = count_step(config, frames=WINDOW_FRAMES, size_px=config.native_px, guidance=guidance)
        reference = step.pop("reference")
        window = sum(step.values())
        kind = "with guidance" if guidance else "without guidance"
        yield f"a step of a window of {WINDOW_FRAMES}, {kind}", window / 1e9
        yield f"the same and the reference forward, {kind}", (window + reference) / 1e9
        second = window * config.sampling.steps * VIDEO_FPS / WINDOW_FRAMES
        yield f"a second of video, {config.sampling.steps} steps, {kind}", second / 1e9


def main(preset: str = "paper") -> None:
    config = ModelConfig.preset(preset)
    unit, giga = ("TFLOP", 1e3) if config == ModelConfig() else ("GFLOP", 1.0)
    sys.stdout.write(f"| part | {unit} |\n|---|---|\n")
    for name, flops in rows(config):
        sys.stdout.write(f"| {name} | {_four_digits(flops / giga)} |\n")


def _four_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


if __name__ == "__main__":
    main(*sys.argv[1:])
