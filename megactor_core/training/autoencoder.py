"""Training the small autoencoder on frames of the data, for models that bring no public one.

Its linear path starts as the principal components of the data's 8 x 8 blocks, which alone are a fair codec;
the convolutions start at zero and learn what blocks cannot say. The latents' scale is measured at the end.

Shape legend:
    B pictures   S side of the picture   C latent channels   H = S / 8   P = 3 * 8 * 8 numbers of a block
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from megactor_core.config.model import LATENT_STRIDE_PX, ModelConfig
from megactor_core.config.train import AutoencoderTrainingConfig, TrainConfig
from megactor_core.data.loader import BatchSource
from megactor_core.data.sample import INDEX
from megactor_core.data.source import ClipSource, SampleFolder
from megactor_core.diffusion.loss import Losses
from megactor_core.errors import ConfigError
from megactor_core.faces.regions import box_masks, region_boxes
from megactor_core.files import sha256_of
from megactor_core.models.autoencoder import Autoencoder, PatchAutoencoder
from megactor_core.models.checkpoint import CheckpointInfo, draw_parts
from megactor_core.training.start import Model, with_scaling
from megactor_core.training.task import Task
from megactor_core.training.work import count_picture

_FRAME, _LATENT_NOISE = 101, 102
"""Last keys of these draws' generators, beyond the reader's (data.draws.Purpose)."""
_BOX_DIVISOR = 8.0
"""Half side of a face's eye and mouth boxes is the picture's side over this."""


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """Numbered frames: pictures (B, 3, S, S) in [-1, 1]; face (B, 1, S, S) bool, where eyes and mouth are."""

    index: Tensor
    pictures: Tensor
    face: Tensor


class FrameBatches:
    """Single frames of a folder of samples, each drawn from (seed, number)."""

    holds_latents = True  # nothing is to be encoded before training

    def __init__(self, clips: ClipSource, *, seed: int, fingerprint: str) -> None:
        self._clips, self._seed = clips, seed
        self.fingerprint = fingerprint

    @classmethod
    def open(cls, config: TrainConfig) -> Self:
        """Raises MediaError or ConfigError where the folder holds no usable samples."""
        clips = SampleFolder(config.data, config.draw)
        sizes = {row.size_px for row in clips.rows}
        if sizes != {config.model.native_px}:
            raise ConfigError(
                f"'{config.data}' holds pictures of {sorted(map(str, sizes))} px, "
                f"the model is made for {config.model.native_px}.",
                fix=f"Preprocess with --size {config.model.native_px}.",
            )
        return cls(clips, seed=config.seed, fingerprint=sha256_of(config.data / INDEX))

    def batch(self, numbers: Sequence[int]) -> FrameBatch:
        pairs = [self._frame(number) for number in numbers]
        frames = torch.from_numpy(np.stack([frame for frame, _ in pairs]))
        return FrameBatch(
            index=torch.tensor(list(numbers)),
            pictures=rearrange(frames, "b h w c -> b c h w").float() / 127.5 - 1,
            face=torch.from_numpy(np.stack([face for _, face in pairs]))[:, None],
        )

    def _frame(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """A frame (S, S, 3) uint8 and where its eyes and mouth are, (S, S) bool."""
        rng = np.random.default_rng([self._seed, number, _FRAME])
        clip_number = int(rng.integers(len(self._clips.rows)))
        clip = self._clips.open(clip_number)
        frame_number = int(rng.integers(len(clip.points)))
        frame = clip.read_frames([frame_number])[0]
        boxes = region_boxes(
            clip.points[[frame_number]],
            size_px=len(frame),
            shape="square",
            per="frame",
            divisor=_BOX_DIVISOR,
            padding=1.0,
        )
        both = np.concatenate([boxes.eyes, boxes.mouth], axis=1)
        return frame, box_masks(both, size_px=len(frame))[0]


class Reconstruction(nn.Module):
    """Encode, disturb the latents, decode; disturbed so that neighbours decode to similar pictures."""

    def __init__(self, autoencoder: PatchAutoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, pictures: Tensor, noise: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [-1, 1] and noise (B, C, H, H) -> pictures."""
        return self.autoencoder.decode(self.autoencoder.encode(pictures) + noise)


def new_autoencoder(config: TrainConfig) -> Model:
    """A model of new weights; raises ConfigError for a preset whose autoencoder is a public one."""
    if config.model.autoencoder.kind != "patch":
        raise ConfigError(
            f"The model's autoencoder is the public '{config.model.autoencoder.name}', which is not trained.",
            fix="Choose a small preset: --preset tiny.",
        )
    parts = draw_parts(config.model, seed=config.seed)
    assert parts.autoencoder is not None
    return Model(
        info=CheckpointInfo(name=f"new weights of {config.preset}", trained=False, model=config.model),
        sigma=parts.sigma,
        autoencoder=Autoencoder(parts.autoencoder, scaling_factor=1.0),
        audio_encoder=parts.audio_encoder,
    )


@torch.no_grad()
def fit_linear_path(model: Model, source: BatchSource[FrameBatch], config: AutoencoderTrainingConfig) -> None:
    """Set the linear path to the C first principal components of the blocks, each of unit variance.

    The blocks' mean goes into the last biases of the convolutions, one value a colour.
    """
    network = _network_of(model)
    frames = torch.cat([batch.pictures for batch in _batches(source, frames=config.fit_frames)])
    side = LATENT_STRIDE_PX
    blocks = rearrange(frames, "b c (h p) (w q) -> (b h w) (c p q)", p=side, q=side).double()  # (n, P)
    colour = frames.mean(dim=(0, 2, 3))  # (3,)
    mean = colour.double().repeat_interleave(side * side)  # (P,)
    centred = blocks - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))  # rising
    channels = network.encode_linear.out_channels
    std = values.flip(0)[:channels].clamp(min=1e-8).sqrt()  # (C,)
    components = vectors.flip(1)[:, :channels].T  # (C, P)
    encode, decode = components / std[:, None], components * std[:, None]
    network.encode_linear.weight.copy_(rearrange(encode, "k (c p q) -> k c p q", p=side, q=side))
    network.decode_linear.weight.copy_(rearrange(decode, "k (c p q) -> k c p q", p=side, q=side))
    _last_bias(network.encode_residual).copy_(-(encode @ mean))
    last = _last_bias(network.decode_residual)  # (3 * 4,): a colour's four neighbours follow each other
    last.copy_(colour.repeat_interleave(len(last) // 3))


def autoencoder_task(
    config: TrainConfig, model: Model, source: BatchSource[FrameBatch], *, device: torch.device
) -> Task:
    """Reconstruction of single frames."""
    network = Reconstruction(_network_of(model)).requires_grad_(True)
    settings = config.autoencoder

    def objective(reconstruct: Callable[..., Tensor], batch: FrameBatch) -> Losses:
        pictures = batch.pictures.to(device)
        noise = _latent_noise(batch.index.tolist(), pictures.shape, model.config, seed=config.seed)
        found = reconstruct(pictures, noise.to(device) * settings.latent_noise).float()
        return _losses(found, pictures, batch.face.to(device), settings)

    return Task(
        network,
        dict(network.named_parameters()),
        objective,
        finish=lambda: _with_measured_scale(model, source, settings),
        sample_flops=count_picture(model.config.autoencoder, size_px=model.config.native_px).total,
    )


def _losses(found: Tensor, wanted: Tensor, face: Tensor, settings: AutoencoderTrainingConfig) -> Losses:
    """Weighted absolute and squared error of each picture, (B,)."""
    weight = torch.where(face, settings.face_weight, 1.0)
    weight = weight / weight.mean(dim=(1, 2, 3), keepdim=True)
    error = found - wanted
    absolute = (weight * error.abs()).flatten(1).mean(1)
    squared = (weight * error**2).flatten(1).mean(1)
    loss = settings.l1_weight * absolute + settings.mse_weight * squared
    return Losses(loss=loss, mse=(error**2).flatten(1).mean(1), vb=torch.zeros_like(loss))


def _latent_noise(numbers: list[int], shape: torch.Size, model: ModelConfig, *, seed: int) -> Tensor:
    latent = (model.latent_channels, shape[2] // LATENT_STRIDE_PX, shape[3] // LATENT_STRIDE_PX)
    drawn = [
        np.random.default_rng([seed, number, _LATENT_NOISE]).standard_normal(latent, dtype=np.float32)
        for number in numbers
    ]
    return torch.from_numpy(np.stack(drawn))


@torch.no_grad()
def _with_measured_scale(
    model: Model, source: BatchSource[FrameBatch], settings: AutoencoderTrainingConfig
) -> Model:
    """The model with the factor that gives its latents unit variance [S Stable Diffusion's rule]."""
    network = _network_of(model)
    device = network.encode_linear.weight.device
    latents = [
        network.encode(batch.pictures.to(device)).cpu()
        for batch in _batches(source, frames=settings.fit_frames)
    ]
    factor = 1 / float(torch.cat(latents).std())
    info = model.info.model_copy(update={"model": with_scaling(model.config, factor)})
    return replace(model, info=info)


def _batches(source: BatchSource[FrameBatch], *, frames: int, size: int = 16) -> Iterator[FrameBatch]:
    for start in range(0, frames, size):
        yield source.batch(range(start, min(start + size, frames)))


def _network_of(model: Model) -> PatchAutoencoder:
    assert model.autoencoder is not None
    network = model.autoencoder.network
    assert isinstance(network, PatchAutoencoder)
    return network


def _last_bias(network: nn.Sequential) -> Tensor:
    last = [layer for layer in network if isinstance(layer, nn.Conv2d)][-1]
    assert last.bias is not None
    return last.bias
