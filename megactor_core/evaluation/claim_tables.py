"""The measured claims as Markdown: a table a claim, and one of what was wanted, measured, met or missed."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from megactor_core.config.claims import ClaimName, ClaimsConfig
from megactor_core.evaluation.claim_result import Results, Threshold, Value
from megactor_core.evaluation.takes import (
    AV,
    AV_BOTH,
    BEFORE,
    EYES,
    EYES_SILENCE,
    OWN,
    SHUFFLED,
    A,
    V,
    alpha_name,
    leak_name,
    scale_name,
)

_MOTION = {
    "mouth_r": "r mouth",
    "width_r": "r width",
    "eyes_r": "r eyes",
    "gaze_r": "r gaze",
    "yaw_r": "r yaw",
    "mouth_amplitude": "mouth amplitude",
    "eyes_amplitude": "eyes amplitude",
    "jitter_ratio": "jitter / true",
    "flicker": "flicker",
    "true_flicker": "true",
}
_PICTURE = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "face_share": "faces found",
    "detector_jitter_ratio": "jitter / true, by the detector",
    "points_error": "landmarks off, px",
}
_SCALES = {
    "mouth_r": "r mouth",
    "mouth_moves": "mouth moves",
    "mouth_amplitude": "of truth",
    "width_r": "r width",
    "eyes_r": "r eyes",
    "jitter_ratio": "jitter / true",
}
_ALPHAS = {
    "shift_gain": "shift, times the true",
    "roll_gain": "roll, times the true",
    "shift": "shift (deviation)",
    "true_shift": "true",
    "roll_degrees": "roll (deviation), degrees",
    "true_roll_degrees": "true",
}
_STILL = {
    "mouth_r": "r mouth",
    "mouth_amplitude": "mouth moves, of truth",
    "mouth_moves": "mouth moves",
    "eyes_r": "r eyes",
    "jitter_ratio": "jitter / true",
}
_LEAK = {
    "leak_mouth_levels": "change of mouth, grey levels",
    "leak_eyes_levels": "of eyes",
    "leak_ratio": "mouth over eyes",
    "leak_mouth_open": "change of mouth opening",
    "leak_eye_open": "of eye opening",
    "leak_opening_ratio": "mouth over eyes",
}
_TEMPORAL = {
    "jitter": "jitter",
    "jitter_ratio": "/ true",
    "flicker": "flicker",
    "true_flicker": "true",
    "mouth_r": "r mouth",
    "mouth_amplitude": "mouth amplitude",
    "psnr": "PSNR",
}


def claims_page(
    results: Results, thresholds: Sequence[Threshold], config: ClaimsConfig, settings: Mapping[str, Any]
) -> str:
    """All that was measured, as Markdown."""
    sections = [
        f"# {settings['checkpoint']}, stage {settings['stage']}",
        f"{config.clips} clips x {config.frames} frames, seeds {', '.join(map(str, config.seeds))}, "
        f"{settings['steps']} solver steps, guidance {settings['guidance']:g}, {settings['noise']} noise; "
        "drivers are other people. "
        "Means over the clips with 95 % intervals; +- is half the range over the seeds, n the number of "
        "clips where it is not all (a clip in which the truth does not move has no correlation).",
        _wanted(thresholds),
    ]
    for claim in config.claims:
        sections += _claim(claim, results, config)
    failed = [
        f"- {name}, {clip}: {why}" for name, one in results.items() for clip, why in one.failures.items()
    ]
    return "\n\n".join([*sections, *(["## Failures", "\n".join(failed)] if failed else [])]) + "\n"


def _claim(claim: ClaimName, results: Results, config: ClaimsConfig) -> list[str]:
    table = partial(_table, results, clips=config.clips)
    match claim:
        case "table3":
            takes = [V, A, AV, AV_BOTH]
            tables = [table(takes, _MOTION), table(takes, _PICTURE)]
            return ["## What drives what", *tables, _pooled_table(results, takes)]
        case "audio-scale":
            takes = [*(scale_name(scale) for scale in sorted(config.audio_scales)), SHUFFLED]
            return ["## Eq. 3: audio_scale", table(takes, _SCALES)]
        case "alpha":
            takes = [alpha_name(alpha) for alpha in sorted(config.alphas)]
            return ["## Eq. 4: alpha", table(takes, _ALPHAS)]
        case "stillness":
            return ["## What nothing moves", table([EYES, EYES_SILENCE], _STILL)]
        case "leak":
            takes = [leak_name(mode, whose=OWN) for mode in config.mask_modes]
            return ["## From the eyes to the mouth", table(takes, _LEAK)]
        case "temporal":
            return ["## Before and after the temporal stage", table([BEFORE, AV], _TEMPORAL)]
        case "samplers":
            takes = [AV, *config.samplers]
            return ["## Samplers", table(takes, _TEMPORAL | {"eyes_r": "r eyes", "ssim": "SSIM"})]


def _wanted(thresholds: Sequence[Threshold]) -> str:
    lines = ["| | wanted | measured | |", "|---|---|---|---|"]
    for one in thresholds:
        sign = ">=" if one.least else "<="
        verdict = "met" if one.met else f"**missed by {one.missed_by:.3g}**"
        if math.isnan(one.measured):
            verdict = "not measured"
        lines.append(f"| {one.name} | {sign} {one.wanted:g} | {one.measured:.3g} | {verdict} |")
    return "\n".join(lines)


def _table(results: Results, takes: Sequence[str], columns: Mapping[str, str], *, clips: int) -> str:
    rows = {
        take: [_cell(results[take].values.get(name), clips=clips) for name in columns]
        for take in takes
        if take in results
    }
    return _grid(results, list(columns.values()), rows)


def _pooled_table(results: Results, takes: Sequence[str]) -> str:
    """Correlations over the frames of all clips together."""
    columns = {name: f"{label}, pooled" for name, label in _MOTION.items() if name.endswith("_r")}
    rows = {
        take: [f"{results[take].pooled.get(name, math.nan):.2f}" for name in columns]
        for take in takes
        if take in results
    }
    return _grid(results, list(columns.values()), rows)


def _grid(results: Results, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    lines = [f"| | {' | '.join(columns)} |", f"|---{'|---' * len(columns)}|"]
    lines += [f"| {take}: {results[take].label} | {' | '.join(cells)} |" for take, cells in rows.items()]
    return "\n".join(lines)


def _cell(value: Value | None, *, clips: int) -> str:
    """The mean, its interval, and half the range over the seeds."""
    if value is None or math.isnan(value.mean):
        return "-"
    digits = 3 if abs(value.mean) < 0.1 else 2 if abs(value.mean) < 10 else 1
    text = f"{value.mean:.{digits}f}"
    if not math.isnan(value.low):
        text += f" [{value.low:.{digits}f}, {value.high:.{digits}f}]"
    if len(value.seeds) > 1:
        text += f" +-{(max(value.seeds) - min(value.seeds)) / 2:.{digits}f}"
    return text + (f", n = {value.count}" if value.count < clips else "")
