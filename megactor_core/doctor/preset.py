"""What a preset needs and takes on this machine: public weights, disk, memory and time.

Nothing is loaded, downloaded or written: bytes and work are counted from shapes, the pace of matrix products
is measured for a moment.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from megactor_core import weights
from megactor_core.config.animate import AnimateConfig
from megactor_core.config.data import DataConfig
from megactor_core.config.model import ModelConfig
from megactor_core.config.train import STAGE_NUMBERS
from megactor_core.doctor.estimate import CPU_SHARES, GPU_SHARE, ClipWork, Pace, count_work, measure_pace
from megactor_core.doctor.installation import Device, free_bytes, is_found
from megactor_core.errors import UsageError
from megactor_core.faces.mediapipe import WEIGHTS_NAME as FACE_WEIGHTS
from megactor_core.models.memory import (
    BFLOAT16_BYTES,
    FLOAT32_BYTES,
    AnimateMemory,
    Weights,
    count_animate,
    count_weights,
    whisper_file_numbers,
)
from megactor_core.models.sigma import Sigma
from megactor_core.models.undrawn import undrawn
from megactor_core.training.stages import STAGES, trainable_parameters
from megactor_core.training.work import count_sample
from megactor_core.weights_registry import REGISTRY

PIXART = "pixart-alpha-512"
VIDEO_SECONDS = 10.0
MAX_VIDEO_SECONDS = 3600.0
"""Length of the video that is reckoned with, unless the user names one, and the longest (ours)."""

PROCESS_BYTES = 600_000_000
"""Python and its libraries, beyond tensors: measured (docs/performance.md, "Memory and time, counted")."""
HEADROOM = 0.1
"""Share of the counted bytes to keep free for what is not counted (ours); measured likewise."""
MASTER_BYTES, AVERAGE_BYTES, MOMENTS_BYTES = FLOAT32_BYTES, FLOAT32_BYTES, 2 * FLOAT32_BYTES
"""Of a trained number: itself, its moving average, AdamW's two moments; all float32."""

_ITEM_BYTES = {"float32": FLOAT32_BYTES, "bfloat16": BFLOAT16_BYTES}


@dataclass(frozen=True, slots=True)
class NeededWeights:
    """Public weights that the preset needs; `bytes` is None where they are known when pulled only."""

    name: str
    found: bool
    needed_by: str
    bytes: int | None

    @property
    def for_animate(self) -> bool:
        """Whether `animate` needs them; else training can start from them."""
        return self.name != PIXART


@dataclass(frozen=True, slots=True)
class Remedy:
    """Settings that take less memory, the bytes they leave, and what they cost."""

    settings: str
    total_bytes: int
    costs: str


@dataclass(frozen=True, slots=True)
class Mode:
    """`animate` on one device in one precision.

    `available_bytes` is None where the machine has no such device, `fits` where nothing can be said;
    `seconds` is None without a measured pace.
    """

    device: str
    dtype: str
    memory: AnimateMemory
    total_bytes: int
    available_bytes: int | None
    fits: bool | None
    remedies: tuple[Remedy, ...]
    remedies_fit: bool
    """Whether it fits with all of them."""
    pace: Pace | None
    seconds: float | None

    @property
    def title(self) -> str:
        return f"{self.device} {self.dtype}"


@dataclass(frozen=True, slots=True)
class TrainingStage:
    """Bytes of a training stage but its activations, which grow with the batch and are not counted."""

    stage: int
    trained: int
    """Numbers that learn."""
    weights: int
    gradients: int
    moments: int
    average: int
    checkpoint: int
    """On disk, each of the run's own checkpoints."""
    sample_flops: int
    """Work of one sample, forward and backward, with latents in the data."""
    sample_seconds: float | None
    """On the first GPU, else on the CPU in float32; None without a measured pace."""

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.moments + self.average


@dataclass(frozen=True, slots=True)
class PresetReport:
    """What a preset needs and takes; bytes, FLOPs and seconds."""

    preset: str
    parameters: int
    size_px: int
    steps: int
    guidance: float
    video_seconds: float
    weights: tuple[NeededWeights, ...]
    pull_command: str | None
    """Gets all that `animate` misses; None where nothing is missing."""
    checkpoint_bytes: int
    cache_free_bytes: int
    work: ClipWork
    modes: tuple[Mode, ...]
    training: tuple[TrainingStage, ...]
    assumptions: tuple[str, ...]

    @property
    def weights_bytes(self) -> int:
        """Of the public weights that `animate` needs."""
        return sum(needed.bytes or 0 for needed in self.weights if needed.for_animate)

    def to_json(self) -> dict[str, Any]:
        """The report as plain values, with the sums."""
        modes = [{**asdict(mode), "memory": _with_sums(mode.memory)} for mode in self.modes]
        training = [{**asdict(stage), "total": stage.total} for stage in self.training]
        return {
            **asdict(self),
            "weights_bytes": self.weights_bytes,
            "modes": modes,
            "training": training,
        }


def _with_sums(memory: AnimateMemory) -> dict[str, int]:
    sums = {"denoising": memory.denoising, "decoding": memory.decoding, "total": memory.total}
    return {**asdict(memory), **sums}


def examine_preset(
    name: str, devices: Sequence[Device], *, video_seconds: float = VIDEO_SECONDS
) -> PresetReport:
    """What the preset `name` needs and takes on `devices`, as `examine` lists them.

    Raises ConfigError for an unknown preset and UsageError for a length that is none.
    """
    config = ModelConfig.preset(name)
    if not 0 < video_seconds <= MAX_VIDEO_SECONDS:
        raise UsageError(
            f"--seconds {video_seconds:g} is not above 0 and at most {MAX_VIDEO_SECONDS:g}.",
            fix="Time grows in proportion; memory does not.",
        )
    numbers, settings = count_weights(config), AnimateConfig()
    work = count_work(config, settings, seconds=video_seconds)
    needed = tuple(_needed(config, numbers))
    missing = [entry.name for entry in needed if entry.for_animate and not entry.found]
    modes = tuple(_mode(config, numbers, settings, work, *mode) for mode in _modes(devices))
    return PresetReport(
        preset=name,
        parameters=numbers.sigma,
        size_px=config.native_px,
        steps=config.sampling.steps,
        guidance=config.sampling.guidance,
        video_seconds=video_seconds,
        weights=needed,
        pull_command=f"megactor weights pull {' '.join(missing)}" if missing else None,
        checkpoint_bytes=_checkpoint_bytes(config, numbers),
        cache_free_bytes=free_bytes(weights.cache_folder()),
        work=work,
        modes=modes,
        training=tuple(_training(config, _training_pace(modes))),
        assumptions=_assumptions(settings),
    )


# Weights and disk


def _needed(config: ModelConfig, numbers: Weights) -> Iterator[NeededWeights]:
    """Public networks that the preset names, what finds faces, and where training can start from."""
    yield _state(FACE_WEIGHTS, None)
    if config.autoencoder.kind == "kl":
        yield _state(config.autoencoder.name, FLOAT32_BYTES * numbers.autoencoder)
    if config.audio.encoder == "whisper":
        yield _state(config.audio.whisper, FLOAT32_BYTES * whisper_file_numbers(config.audio.width))
    if (config.depth, config.hidden) == (ModelConfig().depth, ModelConfig().hidden):
        yield _state(PIXART, None)


def _state(name: str, counted_bytes: int | None) -> NeededWeights:
    """Bytes as pinned, else as found on disk, else as counted from the network."""
    entry, found = REGISTRY[name], is_found(name)
    sizes = [file.bytes for file in entry.files]
    if found:
        folder = weights.find(name)
        size: int | None = sum((folder / file.name).stat().st_size for file in entry.files)
    elif None in sizes:
        size = counted_bytes
    else:
        size = sum(size or 0 for size in sizes)
    return NeededWeights(name, found, entry.needed_by, size)


def _checkpoint_bytes(config: ModelConfig, numbers: Weights) -> int:
    """A checkpoint folder in float32: Sigma and the networks that are this project's own."""
    own = numbers.sigma
    own += numbers.autoencoder if config.autoencoder.kind == "patch" else 0
    own += numbers.audio_encoder if config.audio.encoder == "log-mel" else 0
    return FLOAT32_BYTES * own


# Memory and time


def _modes(devices: Sequence[Device]) -> Iterator[tuple[str, str, int | None]]:
    """Device, precision, and its memory: the CPU in two, every CUDA device, or one that is not here."""
    memory = {device.name: device.memory_bytes for device in devices}
    for dtype in _ITEM_BYTES:
        yield "cpu", dtype, memory.get("cpu")
    for name in [name for name in memory if name.startswith("cuda")] or ["cuda"]:
        yield name, "bfloat16", memory.get(name)


def _mode(
    config: ModelConfig,
    numbers: Weights,
    settings: AnimateConfig,
    work: ClipWork,
    device: str,
    dtype: str,
    available_bytes: int | None,
) -> Mode:
    choice = _Choice(
        config,
        numbers,
        device,
        dtype,
        size_px=config.native_px,
        frames=settings.window.frames,
        decode_batch=settings.decode_batch,
    )
    fits = None if available_bytes is None else choice.fits(available_bytes)
    remedies = () if fits is not False else tuple(_remedies(choice, available_bytes or 0))
    left = remedies[-1].total_bytes if remedies else choice.total_bytes()
    pace = None if available_bytes is None else measure_pace(device, dtype)
    return Mode(
        device=device,
        dtype=dtype,
        memory=choice.memory(),
        total_bytes=choice.total_bytes(),
        available_bytes=available_bytes,
        fits=fits,
        remedies=remedies,
        remedies_fit=available_bytes is not None and _fits(left, available_bytes),
        pace=pace,
        seconds=None if pace is None else pace.seconds(work),
    )


@dataclass(frozen=True, slots=True)
class _Choice:
    """Settings that memory depends on."""

    config: ModelConfig
    numbers: Weights
    device: str
    dtype: str
    size_px: int
    frames: int
    decode_batch: int
    in_parts: bool = False
    """Whether only the parts that work are on the device."""

    def memory(self) -> AnimateMemory:
        return count_animate(
            self.config,
            item_bytes=_ITEM_BYTES[self.dtype],
            size_px=self.size_px,
            frames=self.frames,
            guidance=self.config.sampling.guidance != 1,
            decode_batch=self.decode_batch,
            weights=self.numbers,
        )

    def total_bytes(self) -> int:
        """With the process itself where tensors are in the same memory."""
        memory = self.memory()
        tensors = memory.total_in_parts if self.in_parts else memory.total
        return tensors + (PROCESS_BYTES if self.device == "cpu" else 0)

    def fits(self, available_bytes: int) -> bool:
        return _fits(self.total_bytes(), available_bytes)


def _fits(total_bytes: int, available_bytes: int) -> bool:
    return total_bytes * (1 + HEADROOM) <= available_bytes


def _remedies(choice: _Choice, available_bytes: int) -> Iterator[Remedy]:
    """Each on top of those before it, until it fits: first what changes no result."""
    changes: list[tuple[str, dict[str, Any], str]] = [
        ("--set decode_batch=1", {"decode_batch": 1}, "the same result"),
        *([("--set offload=parts", {"in_parts": True}, "the same result")] if choice.device != "cpu" else []),
        ("--dtype bfloat16", {"dtype": "bfloat16"}, "other rounding"),
        (f"--set window.frames={choice.frames // 2}", {"frames": choice.frames // 2}, "another result"),
        (f"--size {choice.size_px // 2}", {"size_px": choice.size_px // 2}, "a smaller picture"),
    ]
    for setting, change, costs in changes:
        lower = replace(choice, **change)
        if lower.total_bytes() < choice.total_bytes():
            choice = lower
            yield Remedy(setting, choice.total_bytes(), costs)
        if choice.fits(available_bytes):
            return


# Training


def _training_pace(modes: Sequence[Mode]) -> float | None:
    """FLOPs a second that a sample gets: on the first GPU, else on the CPU in float32."""
    measured = [
        mode for mode in modes if mode.pace is not None and (mode.device, mode.dtype) != ("cpu", "bfloat16")
    ]
    pace = measured[min(1, len(measured) - 1)].pace if measured else None
    return None if pace is None else pace.denoiser * pace.share.training


def _training(config: ModelConfig, pace: float | None) -> Iterator[TrainingStage]:
    with undrawn():
        sigma = Sigma(config)
    weights_bytes = FLOAT32_BYTES * sum(parameter.numel() for parameter in sigma.parameters())
    for number in STAGE_NUMBERS:
        frames = DataConfig.for_stage(number).target_frames
        work = count_sample(config, STAGES[number], frames=frames, holds_latents=True)
        trained = sum(parameter.numel() for parameter in trainable_parameters(sigma, STAGES[number]).values())
        yield TrainingStage(
            stage=number,
            trained=trained,
            weights=weights_bytes,
            gradients=MASTER_BYTES * trained,
            moments=MOMENTS_BYTES * trained,
            average=AVERAGE_BYTES * trained,
            checkpoint=(MASTER_BYTES + AVERAGE_BYTES + MOMENTS_BYTES) * trained,
            sample_flops=work.total,
            sample_seconds=None if pace is None else work.total / pace,
        )


def _assumptions(settings: AnimateConfig) -> tuple[str, ...]:
    """What the figures rest on, in words."""
    cpu = CPU_SHARES["float32"]
    denoising = ", ".join(f"{_percent(share.denoiser)} in {dtype}" for dtype, share in CPU_SHARES.items())
    return (
        f"Windows of {settings.window.frames} frames one at a time, {settings.decode_batch} frames decoded "
        "at once; a driving video and sound of the clip's length.",
        "Memory is that of the tensors alive at once. On the CPU "
        f"{PROCESS_BYTES / 1e9:g} GB for Python and its libraries come on top; a GPU's own context is not "
        f"counted. It fits where {_percent(HEADROOM)} more would fit.",
        "Time is counted work over a share of the pace of matrix products, which was measured just now. The "
        "shares on a CPU were measured at small and paper (docs/performance.md), smaller presets reach less: "
        f"denoising {denoising}, decoding {_percent(cpu.decoder)}, training {_percent(cpu.training)}. On a "
        f"GPU {_percent(GPU_SHARE.denoiser)} is an aim: none has been measured.",
        "The time is without face detection, reading and writing video, and loading the checkpoint.",
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
