"""What is wanted of the small default model on the easy synthetic corpus: this project's own figures."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from megactor_core.config.claims import ClaimsConfig
from megactor_core.evaluation.claim_result import Results, Threshold
from megactor_core.evaluation.takes import (
    AV,
    AV_BOTH,
    EYES,
    EYES_SILENCE,
    SHUFFLED,
    A,
    V,
    alpha_name,
    scale_name,
)
from megactor_core.metrics.statistics import ratio


def thresholds_of(results: Results, config: ClaimsConfig, gauge: Mapping[str, Any]) -> Iterator[Threshold]:
    """Every figure that is wanted of this corpus, in the order of the claims that were measured."""
    seen = gauge.get("held_out", {}).get("true_frames", {}).get("correlations", {})
    yield Threshold("gauge on true frames: r mouth opening", 0.95, True, seen.get("mouth_open", math.nan))
    yield Threshold("gauge on true frames: r eyes", 0.85, True, seen.get("eye_open", math.nan))
    if "table3" in config.claims:
        yield from _table3_thresholds(results)
    if "audio-scale" in config.claims:
        yield from _audio_scale_thresholds(results, config)
    if "alpha" in config.claims:
        yield from _alpha_thresholds(results, config)
    if "stillness" in config.claims:
        for take in (EYES, EYES_SILENCE):
            label = results[take].label
            yield Threshold(f"{label}: |r| mouth", 0.15, False, abs(_mean(results, take, "mouth_r")))
            yield Threshold(
                f"{label}: mouth moves, of truth", 0.25, False, _mean(results, take, "mouth_amplitude")
            )


def _table3_thresholds(results: Results) -> Iterator[Threshold]:
    for take, wanted in ((AV, 0.80), (AV_BOTH, 0.80), (A, 0.75), (V, 0.75)):
        yield Threshold(f"{take}: r mouth opening", wanted, True, _mean(results, take, "mouth_r"))
    for take in (AV, V):
        yield Threshold(f"{take}: r eyes", 0.75, True, _mean(results, take, "eyes_r"))
        yield Threshold(f"{take}: r yaw", 0.8, True, _mean(results, take, "yaw_r"))
        yield Threshold(f"{take}: r mouth width", 0.4, True, _mean(results, take, "width_r"))
        yield Threshold(f"{take}: PSNR", 27.0, True, _mean(results, take, "psnr"))
        yield Threshold(f"{take}: SSIM", 0.85, True, _mean(results, take, "ssim"))
        yield Threshold(f"{take}: faces found", 0.95, True, _mean(results, take, "face_share"))
        yield Threshold(f"{take}: jitter, of true frames", 2.0, False, _mean(results, take, "jitter_ratio"))


def _audio_scale_thresholds(results: Results, config: ClaimsConfig) -> Iterator[Threshold]:
    scales = sorted(scale for scale in config.audio_scales if scale <= 1.5)
    for measure, label in (("mouth_r", "r"), ("mouth_moves", "mouth amplitude")):
        steps = _steps([_mean(results, scale_name(scale), measure) for scale in scales])
        shown = ", ".join(f"{scale:g}" for scale in scales)
        yield Threshold(
            f"audio_scale {shown}: smallest step of {label}", 0.0, True, min(steps, default=math.nan)
        )
    if {0.0, 1.5} <= set(config.audio_scales):
        found = [_mean(results, scale_name(scale), "mouth_moves") for scale in (0.0, 1.5)]
        yield Threshold("mouth amplitude at 1.5 over that at 0", 1.35, True, ratio(found[1], found[0]))
    yield Threshold("shuffled sound: |r| mouth", 0.15, False, abs(_mean(results, SHUFFLED, "mouth_r")))


def _alpha_thresholds(results: Results, config: ClaimsConfig) -> Iterator[Threshold]:
    alphas = sorted(alpha for alpha in config.alphas if alpha <= 1.5)
    for measure, label in (("shift_gain", "shift"), ("roll_gain", "roll")):
        gains = {alpha: _mean(results, alpha_name(alpha), measure) for alpha in alphas}
        unit = gains[1.0]
        steps = _steps(list(gains.values()))
        yield Threshold(f"alpha: smallest step of {label}", 0.0, True, min(steps, default=math.nan))
        for alpha in alphas:
            name = f"alpha {alpha:g}: {label} over that at 1"
            if alpha == 0:
                yield Threshold(name, 0.15, False, abs(ratio(gains[alpha], unit)))
            elif alpha != 1:
                off = abs(ratio(gains[alpha], unit) / alpha - 1)
                yield Threshold(f"{name}, off proportional", 0.15, False, off)


def _steps(values: Sequence[float]) -> list[float]:
    return [after - before for before, after in pairwise(values)]


def _mean(results: Results, take: str, measure: str) -> float:
    value = results[take].values.get(measure) if take in results else None
    return math.nan if value is None else value.mean
