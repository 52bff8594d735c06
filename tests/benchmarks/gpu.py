"""All tables that need a GPU, in one go: python tests/benchmarks/gpu.py [DEVICE [PRESET]] > tables.md

DEVICE is `cuda`, PRESET `paper`; weights are random, no network is needed. With `cpu nano` it runs through in
a few minutes, which shows that it works and no more. It prints Markdown for docs/performance.md:

- the pace of square matrix products, which shares are of;
- a denoising step of one window: eager and compiled, in bfloat16 and float32, several windows at once;
- decoding, by frames at once and in channels_last;
- `megactor animate` by memory mode: seconds for a second of video, and the most memory;
- the same against length, steps, size and windows.

Times are wall seconds, the device waited for, or the process's CPU time on a CPU; medians of rounds after one
that is not kept.
"""

import statistics
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import WhisperConfig, WhisperModel

from megactor_core.animation.animate import Animator
from megactor_core.config.animate import AnimateConfig
from megactor_core.config.model import LATENT_STRIDE_PX, ModelConfig
from megactor_core.demo.example import example
from megactor_core.listener import Listener
from megactor_core.models.autoencoder import Autoencoder
from megactor_core.models.checkpoint import init_checkpoint, load_autoencoder
from megactor_core.models.compiled import compile_blocks
from megactor_core.models.flops import count_decode, count_step
from megactor_core.models.layers import KeysValues
from megactor_core.models.sigma import Sigma

ROUNDS, PRODUCT_SIDE = 5, 8192
PRODUCT_SIDE_CPU = 1024
BFLOAT16, FLOAT32 = torch.bfloat16, torch.float32
FRAMES = 16
LISTENER = Listener.of(None, None)

Row = Sequence[object]


class Machine:
    """A device and its clock."""

    def __init__(self, name: str) -> None:
        self.device = torch.device(name)
        self.is_cuda = self.device.type == "cuda"
        self.clock = time.perf_counter if self.is_cuda else time.process_time

    @property
    def said(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.is_cuda else "CPU"
        return f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads"

    def wait(self) -> None:
        if self.is_cuda:
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object], *, rounds: int = ROUNDS) -> float:
        taken = []
        with torch.no_grad():
            for _ in range(rounds + 1):
                self.wait()
                start = self.clock()
                work()
                self.wait()
                taken.append(self.clock() - start)
        return statistics.median(taken[1:])

    def forget_most(self) -> None:
        if self.is_cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def most_gb(self) -> str:
        return f"{torch.cuda.max_memory_allocated(self.device) / 1e9:.2f}" if self.is_cuda else "not measured"

    def pace(self, dtype: torch.dtype) -> float:
        """Operations a second of square products."""
        side = PRODUCT_SIDE if self.is_cuda else PRODUCT_SIDE_CPU
        left = torch.ones(side, side, dtype=dtype, device=self.device)
        return 2 * side**3 / self.seconds(lambda: left @ left, rounds=4 * ROUNDS)


def table(title: str, head: Row, rows: Iterator[Row]) -> None:
    """Print a table, each row as soon as it is known."""
    lines = ["", f"**{title}**", "", _line(head), _line(["---"] * len(head))]
    sys.stdout.write("\n".join(lines) + "\n")
    for row in rows:
        sys.stdout.write(_line(row) + "\n")
        sys.stdout.flush()


def _line(cells: Row) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


# ---------------------------------------------------------------- a step


class Step:
    """One evaluation of the denoiser over some windows, with reference and audio."""

    def __init__(self, config: ModelConfig, machine: Machine, dtype: torch.dtype, *, windows: int) -> None:
        torch.manual_seed(0)
        side, place = config.native_px // LATENT_STRIDE_PX, {"device": machine.device, "dtype": dtype}
        self.latents = torch.randn(windows, FRAMES, config.latent_channels, side, side, **place)
        self.motion = torch.randn(windows, FRAMES, config.driven.out_channels, side, side, **place)
        self.audio = torch.randn(windows, FRAMES, config.audio.tokens, config.audio.width, **place)
        self.t = torch.full((windows,), 437, device=machine.device)
        shape = (1, config.heads, (side // 2) ** 2, config.hidden // config.heads)
        readers = config.depth - config.reference_start
        self.reference = [
            KeysValues(torch.randn(shape, **place), torch.randn(shape, **place)) for _ in range(readers)
        ]

    def through(self, sigma: Sigma) -> Tensor:
        return sigma.denoiser(
            self.latents, self.t, motion=self.motion, audio=self.audio, reference=self.reference
        )


def drawn_sigma(config: ModelConfig, machine: Machine, dtype: torch.dtype) -> Sigma:
    """All weights drawn: no branch is a zero."""
    torch.manual_seed(0)
    sigma = Sigma(config).eval()
    with torch.no_grad():
        for parameter in sigma.parameters():
            parameter.normal_(std=0.02)
    return sigma.to(machine.device, dtype)


def step_rows(config: ModelConfig, machine: Machine, paces: dict[torch.dtype, float]) -> Iterator[Row]:
    exact: Tensor | None = None
    for dtype in (FLOAT32, BFLOAT16):
        sigma = drawn_sigma(config, machine, dtype)
        name = str(dtype).removeprefix("torch.")
        output, row = _stepped(sigma, machine, dtype, pace=paces[dtype])
        exact = output if exact is None else exact
        yield name, *row, _off(output, exact)
        for windows in (2, 4, 8) if dtype == BFLOAT16 else ():
            yield name, *_stepped(sigma, machine, dtype, pace=paces[dtype], windows=windows)[1], ""
        compile_blocks(sigma, machine.device)
        output, row = _stepped(sigma, machine, dtype, pace=paces[dtype])
        yield f"{name}, compiled", *row, _off(output, exact)


def _off(output: Tensor, exact: Tensor) -> str:
    """The largest deviation as a share of the largest number."""
    return f"{float((output - exact).abs().max() / exact.abs().max()):.1e}"


def _stepped(
    sigma: Sigma, machine: Machine, dtype: torch.dtype, *, pace: float, windows: int = 1
) -> tuple[Tensor, Row]:
    config = sigma.config
    work = sum(count_step(config, frames=FRAMES, size_px=config.native_px, guidance=False).values())
    step = Step(config, machine, dtype, windows=windows)
    machine.forget_most()
    start = machine.clock()
    with torch.no_grad():
        output = step.through(sigma).float()
    machine.wait()
    first = machine.clock() - start
    seconds = machine.seconds(lambda: step.through(sigma)) / windows
    measured = (f"{1000 * seconds:.1f}", f"{work / seconds / 1e12:.2f}", f"{work / seconds / pace:.0%}")
    return output, (windows, *measured, f"{first:.1f}", machine.most_gb())


# ---------------------------------------------------------------- decoding


def decode_rows(config: ModelConfig, machine: Machine, folder: Path, pace: float) -> Iterator[Row]:
    autoencoder = load_autoencoder(config, folder).to(machine.device)
    work = count_decode(config.autoencoder, pictures=1, size_px=config.native_px)
    for is_last in (False, True):
        if is_last:
            autoencoder = autoencoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for batch in (1, 4, 8):
            yield _decoded(autoencoder, config, machine, batch=batch, is_last=is_last, ideal=work / pace)


def _decoded(
    autoencoder: Autoencoder,
    config: ModelConfig,
    machine: Machine,
    *,
    batch: int,
    is_last: bool,
    ideal: float,
) -> Row:
    side = config.native_px // LATENT_STRIDE_PX
    latents = torch.randn(batch, config.latent_channels, side, side, device=machine.device)
    machine.forget_most()
    seconds = machine.seconds(lambda: autoencoder.decode(latents)) / batch
    layout = "channels_last" if is_last else "as it is"
    return layout, batch, f"{1000 * seconds:.1f}", f"{ideal / seconds:.0%}", machine.most_gb()


# ---------------------------------------------------------------- animate


def random_checkpoint(folder: Path, preset: str) -> Path:
    """A checkpoint whose public networks, where it has some, are random ones of their shape inside it."""
    init_checkpoint(folder, preset=preset, seed=0)
    config = ModelConfig.preset(preset)
    if config.autoencoder.kind == "kl":
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=config.latent_channels,
        ).save_pretrained(folder / config.autoencoder.name)
    if config.audio.encoder == "whisper":
        whisper = WhisperConfig(
            d_model=config.audio.width,
            encoder_layers=4,
            encoder_attention_heads=6,
            encoder_ffn_dim=4 * config.audio.width,
            decoder_layers=1,
        )
        WhisperModel(whisper).save_pretrained(folder / config.audio.whisper)
    return folder


class Animations:
    """`megactor animate` of the embedded example, looped sound of any length, one model kept."""

    def __init__(self, machine: Machine, folder: Path, checkpoint: Path) -> None:
        self._machine, self._folder, self._checkpoint = machine, folder, checkpoint
        self._animator = Animator()
        self._runs = 0

    def row(self, name: str, *, seconds: float, **settings: Any) -> Row:
        """Seconds for a second of video, the model loaded, and the most memory."""
        self._run(seconds=0.32, **settings)
        self._machine.forget_most()
        start = self._machine.clock()
        self._run(seconds=seconds, **settings)
        return name, f"{(self._machine.clock() - start) / seconds:.2f}", self._machine.most_gb()

    def _run(self, *, seconds: float, **settings: Any) -> None:
        self._runs += 1
        given = example()
        config = AnimateConfig(
            reference=given.reference,
            driving=given.driving,
            audio=self._sound(given.audio, seconds),
            checkpoint=self._checkpoint,
            output=self._folder / f"{self._runs}.mp4",
            seconds=seconds,
            device=str(self._machine.device),
            **settings,
        )
        self._animator.animate(config, LISTENER)

    def _sound(self, path: Path, seconds: float) -> Path:
        longer = self._folder / f"sound-{seconds:g}.wav"
        if not longer.exists():
            with wave.open(str(path)) as source, wave.open(str(longer), "wb") as target:
                target.setparams(source.getparams())
                samples = np.frombuffer(source.readframes(source.getnframes()), np.int16)
                target.writeframes(np.resize(samples, int(seconds * source.getframerate())).tobytes())
        return longer


def main() -> int:
    device, preset = [*sys.argv[1:], "cuda", "paper"][:2] if len(sys.argv) != 2 else [sys.argv[1], "paper"]
    machine, config = Machine(device), ModelConfig.preset(preset)
    is_small = not machine.is_cuda
    paces = {dtype: machine.pace(dtype) for dtype in (FLOAT32, BFLOAT16)}
    sys.stdout.write(f"`python tests/benchmarks/gpu.py {device} {preset}`: {machine.said}.\n")
    rows = ((str(dtype).removeprefix("torch."), f"{pace / 1e12:.2f}") for dtype, pace in paces.items())
    table("Square matrix products", ("type", "TFLOP/s"), rows)
    head = (
        "denoiser",
        "windows at once",
        "ms a window",
        "TFLOP/s",
        "share",
        "first call, s",
        "GB",
        "deviation",
    )
    table(f"A step of {FRAMES} frames, without guidance", head, step_rows(config, machine, paces))
    full = {"steps": 20, "guidance": 4.5}
    seconds = 0.64 if is_small else 4.0
    with tempfile.TemporaryDirectory() as name:
        checkpoint = random_checkpoint(Path(name) / "checkpoint", preset)
        head = ("layout", "frames at once", "ms a frame", "share", "GB")
        table("Decoding, float32", head, decode_rows(config, machine, checkpoint, paces[FLOAT32]))
        runs = Animations(machine, Path(name), checkpoint)
        modes: dict[str, dict[str, Any]] = {
            "as it is (bfloat16 on CUDA)": {},
            "compile": {"compile": True},
            "decode_batch=1": {"decode_batch": 1},
            "window_batch=1, decode_batch=1": {"window_batch": 1, "decode_batch": 1},
            "these and offload=parts": {"window_batch": 1, "decode_batch": 1, "offload": "parts"},
            "these and offload=blocks": {"window_batch": 1, "decode_batch": 1, "offload": "blocks"},
            "dtype=float32": {"dtype": "float32"},
            "recipe fast-both": {"steps": 8, "guidance_interval": (0.25, 0.75)},
        }
        head = ("mode", "seconds for a second of video", "most GB")
        rows_of_modes = (
            runs.row(mode, seconds=seconds, **{**full, **settings}) for mode, settings in modes.items()
        )
        table(f"Animate, {seconds:g} s", head, rows_of_modes)
        table("Against length, steps, size and windows", head, _sweep(runs, config, seconds, full))
    return 0


def _sweep(runs: Animations, config: ModelConfig, seconds: float, full: dict[str, Any]) -> Iterator[Row]:
    for length in (seconds, 4 * seconds):
        yield runs.row(f"{length:g} s", seconds=length, **full)
    for steps in (10, 5):
        yield runs.row(f"{steps} steps", seconds=seconds, **{**full, "steps": steps})
    yield runs.row("without guidance", seconds=seconds, **{**full, "guidance": 1.0})
    yield runs.row(f"{config.native_px // 2} px", seconds=seconds, size=config.native_px // 2, **full)
    for frames in (8, 32):
        yield runs.row(f"windows of {frames}", seconds=seconds, window={"frames": frames}, **full)
    yield runs.row("overlapping windows", seconds=seconds, window={"scheme": "overlap"}, **full)


if __name__ == "__main__":
    sys.exit(main())
