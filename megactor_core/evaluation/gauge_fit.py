"""Fitting the gauge on the truth of synthetic frames, and showing how well it reads people it has not seen.

Shape legend:
    N frames   B of a batch   S side of the picture   R traits
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from megactor_core.config.gauge import GaugeConfig, SofteningConfig
from megactor_core.errors import MetricError
from megactor_core.evaluation.truth_clips import TruthClip, truth_clips
from megactor_core.files import sha256_of
from megactor_core.listener import Listener, OnProgress
from megactor_core.metrics.gauge import (
    SIZE_PX,
    TRAITS,
    WEIGHTS,
    Gauge,
    GaugeNetwork,
    Readings,
    as_pictures,
    save_gauge,
)
from megactor_core.metrics.geometry import outer_eye_distance_px
from megactor_core.metrics.statistics import correlation
from megactor_core.models.autoencoder import Autoencoder
from megactor_core.models.checkpoint import load_checkpoint_autoencoder

_CHOICE, _BATCH, _SOFTEN = 201, 202, 203
"""Second keys of these draws' generators under the seed."""
_GAZE: Final = ("gaze_x", "gaze_y")
SEEN_EYE: Final = 0.4
"""From this opening on a gaze is there to be read; below it counts neither in the fit nor in its figures."""
_POINT_SPREAD_PX: Final = 2.0
"""An error of a landmark that weighs as much as one of a trait by its whole spread."""
_GROUPS: Final = 4
"""Parts of a batch: the first stays sharp, the others are shrunk by a factor each."""
_SHAKE_PX: Final = 1.0
_DECODED_AT_ONCE: Final = 16
_WEIGHT_DECAY, _WARM_UP, _LARGEST_GRADIENT = 1e-3, 0.1, 5.0


@dataclass(frozen=True, slots=True)
class Frames:
    """Pictures (N, S, S, 3) uint8, traits (N, R), points (N, 68, 2) in pixels."""

    pictures: np.ndarray
    traits: np.ndarray
    points: np.ndarray

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True, slots=True)
class GaugeShow:
    """How the gauge reads held-out frames."""

    correlations: dict[str, float]
    """With the truth, all frames pooled, by trait; gaze where the eye is open."""
    points_error: float
    """Mean distance of the landmarks from the truth in outer eye distances."""
    frames: int


@dataclass(frozen=True, slots=True)
class GaugeReport:
    """A fitted gauge; `to_json` is gauge.json's `held_out`."""

    output: Path
    training_frames: int
    training_people: int
    loss: float
    """Mean of the last tenth of the steps."""
    true_frames: GaugeShow
    reconstructions: GaugeShow | None
    """Through the autoencoder, where one was given."""
    sha256: str = ""
    """Of the file that was written."""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "output": str(self.output)}


def fit_gauge(config: GaugeConfig, on_progress: OnProgress | None = None) -> GaugeReport:
    """Fit a gauge and write it to `config.output`; the same settings and files give the same gauge.

    Raises MediaError or MetricError where the data are not those of the corpus, WeightsError for the
    autoencoder, OutputError.
    """
    progress = Listener.of(on_progress, None).progress
    train = truth_clips(config.data, config.corpus, split="train", most=config.clips)
    held_out = truth_clips(config.data, config.corpus, split="validation", most=config.held_out_clips)
    frames = _joined(list(_training_frames(train, config, progress)))
    network = _new_network(frames, seed=config.seed)
    losses = _fit(network, frames, config, progress)
    gauge = Gauge(network, {})
    unseen = _joined(
        [_frames_of(clip, range(0, clip.sample.frames, config.held_out_stride)) for clip in held_out]
    )
    report = GaugeReport(
        output=config.output,
        training_frames=len(frames),
        training_people=sum(1 + (clip.twin_points is not None) for clip in train),
        loss=float(np.mean(losses[-max(1, len(losses) // 10) :])),
        true_frames=show(gauge, unseen),
        reconstructions=_show_reconstructions(gauge, unseen, config.autoencoder),
    )
    gauge.facts = {"config": config.model_dump(mode="json"), "held_out": report.to_json()}
    save_gauge(config.output, gauge)
    return replace(report, sha256=sha256_of(config.output / WEIGHTS))


def gauge_page(report: GaugeReport) -> str:
    """How well the gauge reads unseen people, as a Markdown table."""
    lines = [
        f"Fitted on {report.training_frames} frames of {report.training_people} people; on "
        f"{report.true_frames.frames} frames of people it has not seen:",
        "",
        f"| | {' | '.join(f'r {name}' for name in TRAITS)} | landmarks, eye distances |",
        f"|---{'|---' * (len(TRAITS) + 1)}|",
    ]
    for label, one in (("true frames", report.true_frames), ("reconstructions", report.reconstructions)):
        if one is not None:
            cells = [f"{one.correlations[name]:.3f}" for name in TRAITS]
            lines.append(f"| {label} | {' | '.join(cells)} | {one.points_error:.4f} |")
    return "\n".join(lines) + "\n"


def show(gauge: Gauge, frames: Frames) -> GaugeShow:
    """Correlations and landmark error of the gauge's readings of frames whose truth is known."""
    return compare_with_truth(gauge.read(frames.pictures), traits=frames.traits, points=frames.points)


def compare_with_truth(readings: Readings, *, traits: np.ndarray, points: np.ndarray) -> GaugeShow:
    """The same of readings that were taken already: traits (N, R), points (N, 68, 2)."""
    seen = traits[:, TRAITS.index("eye_open")] >= SEEN_EYE
    correlations = {}
    for column, name in enumerate(TRAITS):
        counted = seen if name in _GAZE else np.ones(len(traits), dtype=bool)
        correlations[name] = correlation(readings.traits[counted, column], traits[counted, column])
    distances = np.linalg.norm(readings.points - points, axis=-1)
    return GaugeShow(correlations, float(distances.mean() / outer_eye_distance_px(points)), len(traits))


# ---------------------------------------------------------------- frames


def _training_frames(clips: list[TruthClip], config: GaugeConfig, progress: OnProgress) -> Iterator[Frames]:
    """A few frames of every clip, and others of its driver."""
    for number, clip in enumerate(clips):
        rng = np.random.default_rng([config.seed, _CHOICE, number])
        count = min(config.frames_per_clip, clip.sample.frames)
        for driver in (False, True)[: 1 + (clip.twin_points is not None)]:
            chosen = np.sort(rng.choice(clip.sample.frames, count, replace=False))
            yield _frames_of(clip, chosen.tolist(), driver=driver)
        progress("reading frames", number + 1, len(clips))


def _frames_of(clip: TruthClip, chosen: range | list[int], *, driver: bool = False) -> Frames:
    index = list(chosen)
    points = clip.twin_points if driver else clip.points
    assert points is not None
    read = clip.sample.read_driver_frames if driver else clip.sample.read_frames
    pictures = read(index)
    if pictures.shape[1:3] != (SIZE_PX, SIZE_PX):
        raise MetricError(
            f"The sample '{clip.name}' has pictures of {len(pictures[0])} pixels, the gauge reads {SIZE_PX}.",
            fix="Preprocess with --recipe tiny.",
        )
    return Frames(pictures, clip.traits(TRAITS)[index], points[index])


def _joined(parts: list[Frames]) -> Frames:
    return Frames(
        pictures=np.concatenate([part.pictures for part in parts]),
        traits=np.concatenate([part.traits for part in parts]),
        points=np.concatenate([part.points for part in parts]),
    )


# ---------------------------------------------------------------- the fit


def _new_network(frames: Frames, *, seed: int) -> GaugeNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = GaugeNetwork()
    network.get_buffer("trait_mean").copy_(torch.from_numpy(frames.traits.mean(axis=0)))
    network.get_buffer("trait_std").copy_(torch.from_numpy(frames.traits.std(axis=0).clip(1e-3)))
    return network


def _fit(network: GaugeNetwork, frames: Frames, config: GaugeConfig, progress: OnProgress) -> list[float]:
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=config.learning_rate,
        total_steps=config.steps + 1,
        pct_start=_WARM_UP,
        cycle_momentum=False,
    )
    network.train().requires_grad_(True)
    losses = []
    for step in range(config.steps):
        loss = _loss(network, frames, config, step=step)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), _LARGEST_GRADIENT)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        progress("fitting the gauge", step + 1, config.steps)
    return losses


def _loss(network: GaugeNetwork, frames: Frames, config: GaugeConfig, *, step: int) -> Tensor:
    rng = np.random.default_rng([config.seed, _BATCH, step])
    chosen = rng.choice(len(frames), min(config.batch_size, len(frames)), replace=False)
    traits = torch.from_numpy(frames.traits[chosen]).float()  # (B, R)
    points = torch.from_numpy(frames.points[chosen]).float()  # (B, 68, 2)
    pictures, points = soften(
        as_pictures(frames.pictures[chosen]),
        points,
        config.softening,
        rng=np.random.default_rng([config.seed, _SOFTEN, step]),
    )
    # Patches are cut where the landmarks are, give or take what the finished gauge will be wrong by.
    shaken = points + torch.from_numpy(_shake(len(points), rng)).float()
    found, found_points = network(pictures, shaken)
    wanted = (traits - network.get_buffer("trait_mean")) / network.get_buffer("trait_std")
    error = F.smooth_l1_loss(found, wanted, reduction="none", beta=0.5) * _gaze_is_seen(traits)
    distance = (found_points - points).abs().mean() / _POINT_SPREAD_PX
    return error.mean() + config.points_weight * distance / len(TRAITS)


def _shake(count: int, rng: np.random.Generator) -> np.ndarray:
    """Errors of landmarks (B, 68, 2): of the whole face, and of each point."""
    whole, each = rng.normal(0, _SHAKE_PX, (count, 1, 2)), rng.normal(0, _SHAKE_PX, (count, 68, 2))
    return np.asarray(whole + each)


def _gaze_is_seen(traits: Tensor) -> Tensor:
    """Weights (B, R): 0 for the gaze of a closed eye."""
    weights = torch.ones_like(traits)
    closed = traits[:, TRAITS.index("eye_open")] < SEEN_EYE
    for name in _GAZE:
        weights[closed, TRAITS.index(name)] = 0
    return weights


def soften(
    pictures: Tensor, points: Tensor, config: SofteningConfig, *, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Move, scale, blur, tint and roughen pictures (B, 3, S, S); points (B, 68, 2) move with them."""
    pictures, points = _moved(pictures, points, config, rng)
    sharp, *others = pictures.chunk(_GROUPS)
    soft = [_blurred(part, float(rng.uniform(1, config.shrink))) for part in others]
    return _roughened(torch.cat([sharp, *soft]), config, rng), points


def _moved(
    pictures: Tensor, points: Tensor, config: SofteningConfig, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    count, side = len(pictures), pictures.shape[-1]
    zoom = torch.from_numpy(1 + rng.uniform(-config.zoom, config.zoom, count)).float()
    shift_px = torch.from_numpy(rng.uniform(-config.shift_px, config.shift_px, (count, 2))).float()
    middle = (side - 1) / 2
    # affine_grid maps the result's places, from -1 to 1 over the picture, to the source's.
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / zoom
    theta[:, :, 2] = -shift_px / (side / 2) / zoom[:, None]
    grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    moved = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    return moved, (points - middle) * zoom[:, None, None] + middle + shift_px[:, None]


def _blurred(pictures: Tensor, shrink: float) -> Tensor:
    side = pictures.shape[-1]
    small = F.interpolate(pictures, size=round(side / shrink), mode="bilinear", antialias=True)
    return F.interpolate(small, size=side, mode="bicubic").clamp(0, 1)


def _roughened(pictures: Tensor, config: SofteningConfig, rng: np.random.Generator) -> Tensor:
    count = len(pictures)
    gains = 1 + rng.uniform(-config.colour, config.colour, (count, 3, 1, 1))
    offsets = rng.uniform(-config.colour, config.colour, (count, 1, 1, 1)) / 2
    deviations = rng.uniform(0, config.noise, (count, 1, 1, 1))
    noise = deviations * rng.standard_normal(tuple(pictures.shape), dtype=np.float32)
    tinted = (pictures - 0.5) * torch.from_numpy(gains).float() + 0.5 + torch.from_numpy(offsets).float()
    return (tinted + torch.from_numpy(noise).float()).clamp(0, 1)


# ---------------------------------------------------------------- through an autoencoder


def _show_reconstructions(gauge: Gauge, frames: Frames, folder: Path | None) -> GaugeShow | None:
    if folder is None:
        return None
    autoencoder = load_checkpoint_autoencoder(folder)
    return show(gauge, Frames(_reconstructed(frames.pictures, autoencoder), frames.traits, frames.points))


def _reconstructed(pictures: np.ndarray, autoencoder: Autoencoder) -> np.ndarray:
    decoded = [
        autoencoder.decode(autoencoder.encode(as_pictures(pictures[start : start + _DECODED_AT_ONCE])))
        for start in range(0, len(pictures), _DECODED_AT_ONCE)
    ]
    return rearrange((255 * torch.cat(decoded)).round().byte(), "n c h w -> n h w c").numpy()
