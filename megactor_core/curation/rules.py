"""The rules a kept clip must satisfy: each looks at stored measures and the limits, at nothing else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from megactor_core.config.base import nearest
from megactor_core.config.curate import GateName, RulesConfig
from megactor_core.curation.measures import GATE_OF, Measures
from megactor_core.errors import UsageError

SCREEN_GATES: Final = frozenset({"light_faces", "sync_screen"})
"""First looks: what they reject, a measure of record might not."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A rule that a clip breaks."""

    rule: str
    value: float | None
    limit: float | None
    text: str
    """The two in words: `412x398 < 600x600`."""

    @property
    def reason(self) -> str:
        """As the manifest has it: `face_too_small: 412x398 < 600x600`."""
        return f"{self.rule}: {self.text}"


Check = Callable[[Measures, RulesConfig], Failure | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, what it needs, and the gate after which it can be checked."""

    name: str
    measures: tuple[str, ...]
    settings: tuple[str, ...]
    """Its limits; where one is None, the rule is off."""
    check: Check
    """Called where all measures and limits are there."""

    @property
    def gate(self) -> GateName:
        return GATE_OF[self.measures[0]]

    @property
    def is_screen(self) -> bool:
        """Whether it belongs to a first look, which a measure of record follows."""
        return self.gate in SCREEN_GATES

    def is_on(self, rules: RulesConfig) -> bool:
        return all(getattr(rules, name) is not None for name in self.settings)

    def broken_by(self, measures: Measures, rules: RulesConfig) -> Failure | None:
        """How the clip breaks the rule; None where it does not, or there is nothing to tell by."""
        if not self.is_on(rules) or any(measures.get(name) is None for name in self.measures):
            return None
        return self.check(measures, rules)


def broken_rules(
    measures: Measures, rules: RulesConfig, *, gates: Sequence[GateName] | None = None
) -> list[Failure]:
    """Every rule that the measures break, in the order of RULES; of these gates only, where given."""
    wanted = (rule for rule in RULES if gates is None or rule.gate in gates)
    return [failure for rule in wanted if (failure := rule.broken_by(measures, rules)) is not None]


def rule_named(name: str) -> Rule:
    """The rule of that name; raises UsageError with the nearest one."""
    for rule in RULES:
        if rule.name == name:
            return rule
    raise UsageError(f"There is no rule '{name}';", fix=nearest(name, [rule.name for rule in RULES]))


# ---------------------------------------------------------------- rules of one measure and one limit


def _least(name: str, measure: str, setting: str, unit: str = "") -> Rule:
    """Broken by a measure below the limit."""

    def check(measures: Measures, rules: RulesConfig) -> Failure | None:
        return _below(name, measures[measure], getattr(rules, setting), unit)

    return Rule(name, (measure,), (setting,), check)


def _most(name: str, measure: str, setting: str, unit: str = "") -> Rule:
    """Broken by a measure above the limit."""

    def check(measures: Measures, rules: RulesConfig) -> Failure | None:
        return _above(name, measures[measure], getattr(rules, setting), unit)

    return Rule(name, (measure,), (setting,), check)


def _below(name: str, value: float, limit: float, unit: str = "") -> Failure | None:
    text = f"{_short(value)}{unit} < {_short(limit)}{unit}"
    return Failure(name, float(value), float(limit), text) if value < limit else None


def _above(name: str, value: float, limit: float, unit: str = "") -> Failure | None:
    text = f"{_short(value)}{unit} > {_short(limit)}{unit}"
    return Failure(name, float(value), float(limit), text) if value > limit else None


def _short(value: Any) -> str:
    return f"{value:.4g}"


# ---------------------------------------------------------------- the others


def _frame_too_small(measures: Measures, rules: RulesConfig) -> Failure | None:
    width, height, limit = measures["width"], measures["height"], rules.min_frame_px or 0
    if min(width, height) >= limit:
        return None
    return Failure("frame_too_small", min(width, height), limit, f"{width}x{height} < {limit}x{limit}")


def _no_sound(measures: Measures, rules: RulesConfig) -> Failure | None:
    state = measures["sound_state"]
    if not rules.require_sound or state == "heard":
        return None
    said = {"none": "no sound track", "unreadable": "the sound cannot be decoded"}
    return Failure("no_sound", None, None, said.get(state, str(state)))


def _light_no_face(measures: Measures, rules: RulesConfig) -> Failure | None:
    return _below("light_no_face", measures["light_face_share"], rules.light_single_share or 0.0)


def _light_several_faces(measures: Measures, rules: RulesConfig) -> Failure | None:
    several = measures["light_face_share"] - measures["light_single_share"]
    return _several("light_several_faces", several, rules.light_single_share or 0.0, rules)


def _light_face_too_small(measures: Measures, rules: RulesConfig) -> Failure | None:
    limit = rules.guard * (rules.min_face_px or 0)
    return _below("light_face_too_small", measures["light_face_px"], limit, " px")


def _no_face(measures: Measures, rules: RulesConfig) -> Failure | None:
    return _below("no_face", measures["face_share"], rules.min_single_share or 0.0)


def _several_faces(measures: Measures, rules: RulesConfig) -> Failure | None:
    several = measures["face_share"] - measures["single_share"]
    return _several("several_faces", several, rules.min_single_share or 0.0, rules)


def _several(name: str, share: float, least_single: float, rules: RulesConfig) -> Failure | None:
    if rules.several_faces == "largest":
        return None
    # Shares of few frames are sums of rounded numbers.
    return _above(name, round(share, 9), round(1 - least_single, 9))


def _several_shots(measures: Measures, rules: RulesConfig) -> Failure | None:
    shots = 1 + sum(score > rules.cut_score for score in measures["cut_scores"])
    return _above("several_shots", shots, rules.max_shots or 1)


def _face_too_small(measures: Measures, rules: RulesConfig) -> Failure | None:
    limit = rules.min_face_px or 0
    width, height = (measures[f"face_{side}_{rules.face_statistic}"] for side in ("width", "height"))
    if min(width, height) >= limit:
        return None
    text = f"{width:.0f}x{height:.0f} < {limit}x{limit}"
    return Failure("face_too_small", min(width, height), limit, text)


def _head_turned(measures: Measures, rules: RulesConfig) -> Failure | None:
    name = "yaw_mean" if rules.rotation == "yaw" else f"rotation_{rules.rotation}_mean"
    return _above("head_turned", measures[name], rules.max_rotation_degrees or 0.0, " degrees")


def _sound_off(measures: Measures, rules: RulesConfig) -> Failure | None:
    is_clear = measures["av_confidence"] >= rules.min_av_confidence
    is_better = measures["av_gain"] >= rules.min_av_gain
    if not (is_clear and is_better) or rules.wrong_offset == "correct":
        return None
    limit = rules.max_av_offset_frames or 0
    return _offset("sound_off", measures["av_offset_frames"], limit)


def _screen_sync_c_low(measures: Measures, rules: RulesConfig) -> Failure | None:
    limit = rules.screen_guard * (rules.min_sync_c or 0.0)
    return _below("screen_sync_c_low", measures["screen_sync_c"], limit)


def _screen_sync_d_high(measures: Measures, rules: RulesConfig) -> Failure | None:
    limit = (2 - rules.screen_guard) * (rules.max_sync_d or 0.0)
    return _above("screen_sync_d_high", measures["screen_sync_d"], limit)


def _sync_offset(measures: Measures, rules: RulesConfig) -> Failure | None:
    if rules.wrong_offset == "correct":
        return None
    return _offset("sync_offset", measures["sync_offset_frames"], rules.max_sync_offset_frames or 0)


def _offset(name: str, frames: int, limit: int) -> Failure | None:
    if abs(frames) <= limit:
        return None
    side = "early" if frames > 0 else "late"
    return Failure(name, frames, limit, f"sound {abs(frames)} frames too {side} > {limit}")


RULES: Final[tuple[Rule, ...]] = (
    Rule("frame_too_small", ("width", "height"), ("min_frame_px",), _frame_too_small),
    _least("too_short", "seconds", "min_seconds", " s"),
    _most("too_long", "seconds", "max_seconds", " s"),
    _least("fps_too_low", "video_fps", "min_fps"),
    _least("cut_off", "readable_share", "min_readable_share"),
    Rule("no_sound", ("sound_state",), (), _no_sound),
    _least("silent", "sound_peak_db", "min_sound_db", " dB"),
    _least("too_little_speech", "speech_share", "min_speech_share"),
    _most("clipped_sound", "clipped_share", "max_clipped_share"),
    Rule("light_no_face", ("light_face_share",), ("light_single_share",), _light_no_face),
    Rule(
        "light_several_faces",
        ("light_face_share", "light_single_share"),
        ("light_single_share",),
        _light_several_faces,
    ),
    Rule(
        "light_face_too_small",
        ("light_face_px",),
        ("light_single_share", "min_face_px"),
        _light_face_too_small,
    ),
    Rule("several_shots", ("cut_scores",), ("max_shots",), _several_shots),
    _most("damaged", "damaged_share", "max_damaged_share"),
    _least("still_picture", "change", "min_change"),
    Rule("no_face", ("face_share",), ("min_single_share",), _no_face),
    Rule("several_faces", ("face_share", "single_share"), ("min_single_share",), _several_faces),
    Rule("face_too_small", ("face_width_mean",), ("min_face_px",), _face_too_small),
    _least("square_too_small", "square_p10", "min_square_px", " px"),
    Rule("head_turned", ("rotation_magnitude_mean",), ("max_rotation_degrees",), _head_turned),
    _least("not_frontal", "frontal_share", "min_frontal_share"),
    _most("moves_too_much", "travel", "max_travel"),
    _least("blurred", "sharpness", "min_sharpness"),
    _most("poor_picture", "niqe", "max_niqe"),
    Rule(
        "sound_off",
        ("av_offset_frames", "av_confidence", "av_gain"),
        ("max_av_offset_frames",),
        _sound_off,
    ),
    Rule("screen_sync_c_low", ("screen_sync_c",), ("min_sync_c",), _screen_sync_c_low),
    Rule("screen_sync_d_high", ("screen_sync_d",), ("max_sync_d",), _screen_sync_d_high),
    _least("sync_c_low", "sync_c", "min_sync_c"),
    _most("sync_d_high", "sync_d", "max_sync_d"),
    Rule("sync_offset", ("sync_offset_frames",), ("max_sync_offset_frames",), _sync_offset),
)
"""Every rule that looks at one clip; `duplicate` looks at all of them, see duplicates.py."""
