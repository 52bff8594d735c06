"""The configuration of `megactor train`.

Sources: [P] the paper, [R] its authors' release, [S] the public model that the paper builds on; no mark =
ours. The defaults are the paper's where it says something.
"""

from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, model_validator

from megactor_core.config.animate import MaskMode
from megactor_core.config.base import Config
from megactor_core.config.data import DataConfig
from megactor_core.config.model import ModelConfig, PresetName

StageNumber = Literal[1, 2, 3]
STAGE_NUMBERS: tuple[StageNumber, ...] = get_args(StageNumber)

AUTOENCODER_RUN = Path("runs/autoencoder")
"""Where the autoencoder's run lies unless the user says otherwise."""

CADENCE = frozenset(
    {
        *("steps", "resume", "output", "data", "workers", "device", "compile", "gradient_checkpointing"),
        *("checkpoint_every", "validate_every", "validation_samples", "validation_clips"),
        *("keep", "track", "domain"),
    }
)
"""Settings that may change when a run goes on: they do not change what a step computes from its data."""


class OptimiserConfig(Config):
    """AdamW, and how its learning rate and gradients are tamed; the paper gives the learning rate alone."""

    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of the moments [R]."""
    eps: float = Field(1e-8, gt=0)
    """Added to the root of the second moment [R; PixArt-alpha 1e-10]."""
    weight_decay: float = Field(1e-2, ge=0)
    """Decoupled weight decay [R; PixArt-alpha 3e-2]."""
    clip_norm: float = Field(1.0, gt=0)
    """Gradients longer than this are shortened to it [R; PixArt-alpha 0.01]."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises from 0 (none in [R])."""
    decay: Literal["none", "linear", "cosine"] = "none"
    """How the learning rate falls to 0 over the last part of the run; constant in [R]."""
    decay_share: float = Field(0.4, gt=0, le=1)
    """The part of the run over which it falls, where `decay` is not `none`."""


class EmaConfig(Config):
    """Moving average of the trained weights: what `final/` holds."""

    decay: float = Field(0.9999, ge=0, lt=1)
    """Share of the old average that a step keeps [S PixArt-alpha]; 0 follows the weights themselves.
    Early steps keep less, (1 + n) / (10 + n), so that the start is forgotten."""


class LossConfig(Config):
    """Weights on the loss; the paper has none beyond the mask of an undriven mouth."""

    min_snr_gamma: float | None = Field(None, gt=0)
    """Bound of the weight by signal-to-noise ratio, 5 in [Min-SNR]. None: every time step counts alike."""
    mouth_weight: float = Field(1.0, ge=0)
    """Weight of a driven mouth's region."""
    eyes_weight: float = Field(1.0, ge=0)
    """Weight of the eyes' regions where a visual driver is there."""


class AutoencoderTrainingConfig(Config):
    """How a small preset's own autoencoder is trained."""

    l1_weight: float = Field(0.3, ge=0)
    mse_weight: float = Field(4.0, ge=0)
    """Weights of the absolute and the squared error of pictures in [-1, 1]."""
    face_weight: float = Field(4.0, ge=1)
    """Weight of eyes and mouth against the rest of the picture."""
    latent_noise: float = Field(0.05, ge=0)
    """Standard deviation of the noise on latents, which start at about unit variance."""
    fit_frames: int = Field(256, ge=16)
    """Frames that the first linear code and the latents' scale are measured on."""


class TrainConfig(Config):
    """One training stage; None means: see the field."""

    stage: Literal[1, 2, 3, "autoencoder"] | None = None
    """What to train: 1 the visual driver, 2 both drivers, 3 motion [P]; or a small preset's `autoencoder`.
    Always to be given."""
    steps: int = Field(30_000, ge=1)
    """Optimiser steps [P]."""
    batch_size: int = Field(1, ge=1)
    """Samples a device at once [R: 1 a GPU]."""
    accumulate: int = Field(1, ge=1)
    """Batches whose gradients are averaged to one step [R: 2]. The paper trains on eight GPUs and says no
    batch size."""
    learning_rate: float = Field(1e-5, gt=0)
    """Of AdamW, at its height [P]; made for PixArt-alpha's weights, small new models want 100 times that."""
    checkpoint_every: int = Field(1000, ge=1)
    """Steps between checkpoints; the last step always makes one."""
    validate_every: int = Field(1000, ge=1)
    """Steps between measurements on held-out identities."""
    validation_samples: int = Field(16, ge=0)
    """Held-out samples that a measurement reads, the same ones each time; 0 leaves it out."""
    validation_clips: int = Field(2, ge=0)
    """Held-out clips that are animated after it, for people to look at: the same ones each time, driven by
    sound, by picture and by both. 0 leaves them out."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of every draw: new weights, samples, time steps, noise."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the network's arithmetic; weights and losses stay float32. auto: bfloat16 on CUDA, else float32.
    float16 [R] is refused on a CPU."""
    device: Literal["auto", "cpu"] = "auto"
    """auto: the accelerator that accelerate finds, else the CPU."""

    data: Path = Path("data/processed")
    """Folder that `megactor preprocess` wrote."""
    output: Path | None = None
    """The run's folder. None: runs/stageN."""
    init: Path | None = None
    """Checkpoint to start from; for stage 1 of the preset `paper` PixArt-alpha's weights. None: the stage
    before, from runs/stageN/final; a small preset's stage 1 takes runs/autoencoder/final's autoencoder."""
    resume: bool = False
    """Go on with the run in the output folder, where there is one; a finished one stays as it is."""
    keep: int = Field(2, ge=1)
    """Newest checkpoints that are kept while training."""
    workers: int = Field(2, ge=0)
    """Processes that read samples ahead; 0 reads between the steps. Samples do not depend on it."""
    gradient_checkpointing: bool = False
    """Recompute blocks in the backward pass: less memory, about a third more time."""
    deterministic: bool = False
    """Use only algorithms that give the same bits each time on one machine: slower on a GPU."""
    compile: bool = False
    """Compile the denoiser's blocks (torch.compile): pays on a GPU after minutes of warming up."""
    track: Literal["none", "tensorboard"] = "none"
    """Also write the metrics for TensorBoard, into the run's folder; needs the extra `track`."""
    domain: str = ""
    """What the data show, in words that go on after "trained on"; kept in the checkpoint for its users."""

    preset: PresetName | None = None
    """Size of a new model, in stage 1. None: `paper`."""
    model: ModelConfig = ModelConfig()
    """A new model's choices, on top of the preset's; later stages take the model that they start from."""
    mask_mode: MaskMode = "paper"
    """Eq. 2 where the mouth is not driven visually: `paper`, `strict` (every non-eye token) or `off`."""
    clip_noise: Literal["independent", "shared"] = "independent"
    """Noise of a clip's frames in stage 3: each its own, as in the public video models, or one for all, which
    suits a checkpoint that is sampled so (model.sampling.noise)."""
    draw: DataConfig = DataConfig()
    """How samples are drawn; what is not given is the stage's own."""
    optimiser: OptimiserConfig = OptimiserConfig()
    ema: EmaConfig = EmaConfig()
    loss: LossConfig = LossConfig()
    autoencoder: AutoencoderTrainingConfig = AutoencoderTrainingConfig()

    @model_validator(mode="before")
    @classmethod
    def _fill_from_stage_and_preset(cls, values: Any) -> Any:
        """Groups that are given in part are completed by the stage's and the preset's settings."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        if values.get("stage") in map(str, STAGE_NUMBERS):  # options are text
            values["stage"] = int(values["stage"])
        if values.get("preset") in get_args(PresetName) or isinstance(values.get("model"), dict):
            preset = ModelConfig.preset(values.get("preset") or "paper")
            values["model"] = _completed(values.get("model", {}), preset)
        if values.get("stage") in STAGE_NUMBERS:
            values["draw"] = _completed(values.get("draw", {}), DataConfig.for_stage(values["stage"]))
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.stage != 3 and self.draw.clip_frames != 1:
            raise ValueError(f"draw.clip_frames = {self.draw.clip_frames}, but only stage 3 trains on clips")
        if self.stage == 3 and self.draw.frames_per_reference != 1:
            raise ValueError(
                f"draw.frames_per_reference = {self.draw.frames_per_reference}, but stage 3 trains on clips"
            )
        if self.optimiser.warmup_steps >= self.steps > 1:
            raise ValueError(
                f"optimiser.warmup_steps = {self.optimiser.warmup_steps} is not below steps = {self.steps}"
            )
        return self

    @property
    def folder(self) -> Path:
        """The run's folder."""
        if self.output is not None:
            return self.output
        return AUTOENCODER_RUN if self.stage == "autoencoder" else stage_folder(self.stage_number)

    @property
    def stage_number(self) -> StageNumber:
        """The stage of the paper; not for the autoencoder, which is none."""
        assert self.stage is not None
        assert self.stage != "autoencoder"
        return self.stage

    @property
    def chooses_model(self) -> bool:
        """Whether anything is said about the model's form."""
        return self.preset is not None or self.model != ModelConfig()


def stage_folder(stage: int) -> Path:
    """Where a stage's run lies unless the user says otherwise."""
    return Path("runs") / f"stage{stage}"


def _completed(given: Any, defaults: Config) -> Any:
    """`given` over `defaults`, group by group; anything but settings is left for validation to refuse."""
    if not isinstance(given, dict):
        return given
    return _over(defaults.model_dump(), given)


def _over(weak: dict[str, Any], strong: dict[str, Any]) -> dict[str, Any]:
    merged = dict(weak)
    for key, value in strong.items():
        below = merged.get(key)
        merged[key] = _over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
