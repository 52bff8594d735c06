"""The loss of a batch: latents, noise and time steps, one prediction, and the weights on its error.

Shape legend:
    B samples   F frames   N tokens   C latent channels   H, W latent height and width
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from einops import rearrange, repeat
from torch import Tensor

from megactor_core.config.model import PATCH, ModelConfig
from megactor_core.config.train import LossConfig, TrainConfig
from megactor_core.data.batch import Batch
from megactor_core.diffusion.loss import Losses, training_losses
from megactor_core.diffusion.schedule import Schedule, add_noise, lookup, make_schedule
from megactor_core.errors import ConfigError
from megactor_core.models.autoencoder import Autoencoder
from megactor_core.models.masks import RegionMask, region_mask

_NOISE = 100
"""Last key of these draws' generators, beyond the reader's (data.draws.Purpose)."""

Network = Callable[..., Tensor]
"""TrainedNetwork.forward, perhaps through what distributes it."""


class Objective:
    """Losses of batches for one run; a sample's draws depend on the seed and its number alone."""

    def __init__(
        self,
        config: TrainConfig,
        model: ModelConfig,
        *,
        autoencoder: Autoencoder | None,
        device: torch.device,
    ) -> None:
        self._config, self._model = config, model
        self._schedule = make_schedule(model.diffusion)
        self._autoencoder = None if autoencoder is None else autoencoder.to(device)
        self._device = device

    def __call__(self, network: Network, batch: Batch) -> Losses:
        """Losses (B,) of a batch that lies on the CPU; raises ConfigError for one of another size."""
        reference, target = self._latents(batch)
        t, eps = draw_noise(
            batch.index.tolist(),
            tuple(target.shape[1:]),
            times=self._config.draw.frames_per_reference,
            shared=self._config.clip_noise == "shared",
            seed=self._config.seed,
            time_steps=self._schedule.steps,
        )
        t, eps = t.to(self._device), eps.to(self._device)
        noisy = add_noise(self._schedule, _rows(target, t), _rows(eps, t), t.flatten())
        mask = attention_mask(batch, self._config, self._model)
        output = network(
            noisy.view_as(target),
            t,
            reference_latent=reference,
            driving=batch.driving.to(self._device),
            audio=batch.audio.to(self._device),
            speaks=(batch.has_audio & ~batch.null).to(self._device),
            mask=None if mask is None else mask.to(self._device),
        )
        weight = loss_weight(batch, self._config.loss).to(self._device)
        losses = training_losses(
            _rows(output.float(), t),
            x0=_rows(target, t),
            eps=_rows(eps, t),
            t=t.flatten(),
            schedule=self._schedule,
            config=self._model.diffusion,
            weight=_rows(weight, t),
        )
        losses = _weighted_by_snr(losses, t.flatten(), self._schedule, self._model, self._config.loss)
        return _mean_over_frames(losses, t)

    def _latents(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Scaled latents of reference (B, C, H, W) and target (B, F, C, H, W)."""
        if batch.reference_latent is not None and batch.target_latent is not None:
            scale = self._model.autoencoder.scaling_factor
            reference = batch.reference_latent.to(self._device, torch.float32) * scale
            target = batch.target_latent.to(self._device, torch.float32) * scale
        else:
            reference, target = self._encode(batch)
        _require_size(target, self._model)
        return reference, target

    def _encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if self._autoencoder is None or batch.reference is None or batch.target is None:
            raise ValueError("the batch holds pictures, but the run has no autoencoder")
        frames = batch.target.shape[1]
        pictures = torch.cat([batch.reference, batch.target.flatten(0, 1)]).to(self._device)
        latents = self._autoencoder.encode((pictures + 1) / 2)
        reference, target = latents.split([len(batch.reference), len(batch.reference) * frames])
        return reference, rearrange(target, "(b f) c h w -> b f c h w", f=frames)


def draw_noise(
    numbers: Sequence[int],
    shape: tuple[int, ...],
    *,
    seed: int,
    time_steps: int,
    times: int = 1,
    shared: bool = False,
) -> tuple[Tensor, Tensor]:
    """Time steps t int64, uniform [S PixArt-alpha], and noise (B, F, ...) float32 of numbered samples.

    t is (B,), or (B, F) where the F frames of a sample are apart: `times` = F. `shape` is (F, ...); `shared`
    gives all frames one noise. Both depend on (seed, number) only: not on batch, process or device.
    """
    drawn = (1, *shape[1:]) if shared else shape
    generators = [np.random.default_rng([seed, number, _NOISE]) for number in numbers]
    t = torch.from_numpy(np.stack([generator.integers(time_steps, size=times) for generator in generators]))
    eps = np.stack([generator.standard_normal(drawn, dtype=np.float32) for generator in generators])
    return t if times > 1 else t[:, 0], torch.from_numpy(eps).expand(-1, *shape)


def _rows(value: Tensor, t: Tensor) -> Tensor:
    """What has one time step as one row: clips (B, F, ...) as they are, frames apart as (B F, 1, ...)."""
    return value if t.ndim == 1 else rearrange(value, "b f ... -> (b f) 1 ...")


def _mean_over_frames(losses: Losses, t: Tensor) -> Losses:
    """(B,) from a loss a row of `_rows`."""

    def mean(value: Tensor) -> Tensor:
        return value if t.ndim == 1 else value.view_as(t).mean(1)

    return Losses(loss=mean(losses.loss), mse=mean(losses.mse), vb=mean(losses.vb))


def attention_mask(batch: Batch, config: TrainConfig, model: ModelConfig) -> RegionMask | None:
    """Eq. 2 where it applies, and no reference for rows of the null branch; None where neither is needed.

    Over B * F rows. The null branch has no region mask, as in `animate`.
    """
    frames = batch.eyes.shape[1]
    active = batch.mask_active & ~batch.null
    if config.mask_mode == "off":
        active = torch.zeros_like(active)
    if not active.any() and not batch.null.any():
        return None
    mask = region_mask(
        mouth=batch.mouth.flatten(0, 1),                                        # (B F, N)
        eyes=batch.eyes.flatten(0, 1),
        mode="paper" if config.mask_mode == "off" else config.mask_mode,
        form=model.mask.form,
        active=repeat(active, "b -> (b f)", f=frames),
    )  # fmt: skip
    assert mask is not None
    if not batch.null.any():
        return mask
    reads = repeat(~batch.null, "b -> (b f)", f=frames)
    return RegionMask(mask.rows, mask.hidden, mask.form, reads_reference=reads)


def loss_weight(batch: Batch, config: LossConfig) -> Tensor:
    """Weight of each latent pixel's error: (B, F, 1, H, W).

    0 in a mouth that nothing drives, `mouth_weight` in a driven one, `eyes_weight` where a visual driver's
    eye patches are. The null branch learns the whole picture alike.
    """
    height, width = batch.loss_weight.shape[-2:]

    def region(tokens: Tensor) -> Tensor:
        grid = rearrange(tokens, "b f (h w) -> b f 1 h w", h=height // PATCH, w=width // PATCH)
        return grid.repeat_interleave(PATCH, dim=3).repeat_interleave(PATCH, dim=4)

    conditioned = ~batch.null[:, None, None]
    seen = torch.tensor([mode != "audio" for mode in batch.mode])[:, None, None]
    weight = torch.where(region(batch.eyes & seen & conditioned), config.eyes_weight, 1.0)
    weight = torch.where(region(batch.mouth & conditioned), config.mouth_weight, weight)
    return weight * batch.loss_weight


def _weighted_by_snr(
    losses: Losses, t: Tensor, schedule: Schedule, model: ModelConfig, config: LossConfig
) -> Losses:
    """Min-SNR: the squared error of an x0-prediction bounded by gamma, in terms of what is predicted."""
    if config.min_snr_gamma is None:
        return losses
    alpha_bar = lookup(schedule.alpha_bar, t, losses.mse)
    snr = alpha_bar / (1 - alpha_bar)
    bounded = snr.clamp(max=config.min_snr_gamma)
    mse = losses.mse * bounded / (snr if model.diffusion.prediction == "eps" else snr + 1)
    return Losses(loss=mse + losses.vb, mse=losses.mse, vb=losses.vb)


def _require_size(target: Tensor, model: ModelConfig) -> None:
    side = model.base_tokens * PATCH
    wanted = (model.latent_channels, side, side)
    found = tuple(target.shape[2:])
    if found != wanted:
        raise ConfigError(
            f"The data have latents of {found} (channels, height, width), the model is made for {wanted}.",
            fix=f"Preprocess with --size {model.native_px} and this model's autoencoder.",
        )
