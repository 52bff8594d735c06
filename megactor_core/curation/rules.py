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
class Bound:
    """The number that a rule looks at, and the limit that it must keep."""

    name: str
    """What it is: a measure's name, or words where it is made of several."""
    value: Callable[[Measures, RulesConfig], float | None]
    """None: nothing that could be held against the clip."""
    limit: Callable[[RulesConfig], float]
    is_floor: bool
    """Whether less than the limit breaks the rule; else, more."""
    unit: str = ""

    def is_past(self, value: float, limit: float) -> bool:
        return value < limit if self.is_floor else value > limit


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, what it needs, and the gate after which it can be checked."""

    name: str
    measures: tuple[str, ...]
    settings: tuple[str, ...]
    """Its limits; where one is None, the rule is off."""
    check: Check
    """Called where all measures and limits are there."""
    bound: Bound | None = None
    """What `check` compares; None for a rule that is no matter of numbers."""

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
        return self.check(measures, rules) if self._can_tell(measures, rules) else None

    def value(self, measures: Measures, rules: RulesConfig) -> float | None:
        """The number that is compared with the limit; None where nothing is."""
        if self.bound is None or not self._can_tell(measures, rules):
            return None
        return self.bound.value(measures, rules)

    def _can_tell(self, measures: Measures, rules: RulesConfig) -> bool:
        return self.is_on(rules) and all(measures.get(name) is not None for name in self.measures)


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


# ---------------------------------------------------------------- rules of a number and a limit


def _bounded(
    name: str,
    measures: tuple[str, ...],
    settings: tuple[str, ...],
    bound: Bound,
    says: Callable[[Measures, RulesConfig], str] | None = None,
) -> Rule:
    """A rule that a number past its limit breaks; `says` puts the two into words where they alone do not."""

    def check(measured: Measures, rules: RulesConfig) -> Failure | None:
        value, limit = bound.value(measured, rules), bound.limit(rules)
        if value is None or not bound.is_past(value, limit):
            return None
        text = _compared(value, limit, bound) if says is None else says(measured, rules)
        return Failure(name, float(value), float(limit), text)

    return Rule(name, measures, settings, check, bound)


def _least(name: str, measure: str, setting: str, unit: str = "") -> Rule:
    """Broken by a measure below the limit."""
    return _bounded(name, (measure,), (setting,), _plain(measure, setting, unit, is_floor=True))


def _most(name: str, measure: str, setting: str, unit: str = "") -> Rule:
    """Broken by a measure above the limit."""
    return _bounded(name, (measure,), (setting,), _plain(measure, setting, unit, is_floor=False))


def _plain(measure: str, setting: str, unit: str, *, is_floor: bool) -> Bound:
    return Bound(
        name=measure,
        value=lambda measures, _rules: measures[measure],
        limit=lambda rules: getattr(rules, setting),
        is_floor=is_floor,
        unit=unit,
    )


def _compared(value: float, limit: float, bound: Bound) -> str:
    sign = "<" if bound.is_floor else ">"
    return f"{_short(value)}{bound.unit} {sign} {_short(limit)}{bound.unit}"


def _short(value: Any) -> str:
    return f"{value:.4g}"


# ---------------------------------------------------------------- their numbers and limits


def _no_sound(measures: Measures, rules: RulesConfig) -> Failure | None:
    state = measures["sound_state"]
    if not rules.require_sound or state == "heard":
        return None
    said = {"none": "no sound track", "unreadable": "the sound cannot be decoded"}
    return Failure("no_sound", None, None, said.get(state, str(state)))


def _frame_side(measures: Measures, _rules: RulesConfig) -> float:
    return float(min(measures["width"], measures["height"]))


def _frame_said(measures: Measures, rules: RulesConfig) -> str:
    return f"{measures['width']}x{measures['height']} < {rules.min_frame_px}x{rules.min_frame_px}"


def _face_sides(measures: Measures, rules: RulesConfig) -> tuple[float, float]:
    width, height = (measures[f"face_{side}_{rules.face_statistic}"] for side in ("width", "height"))
    return width, height


def _face_said(measures: Measures, rules: RulesConfig) -> str:
    width, height = _face_sides(measures, rules)
    return f"{width:.0f}x{height:.0f} < {rules.min_face_px}x{rules.min_face_px}"


def _several(prefix: str) -> Callable[[Measures, RulesConfig], float | None]:
    """The share of the frames with more than one face, where that matters."""

    def share(measures: Measures, rules: RulesConfig) -> float | None:
        if rules.several_faces == "largest":
            return None
        # Shares of few frames are sums of rounded numbers.
        return float(round(measures[f"{prefix}face_share"] - measures[f"{prefix}single_share"], 9))

    return share


def _shots(measures: Measures, rules: RulesConfig) -> float:
    return 1 + sum(score > rules.cut_score for score in measures["cut_scores"])


def _rotation(measures: Measures, rules: RulesConfig) -> float:
    name = "yaw_mean" if rules.rotation == "yaw" else f"rotation_{rules.rotation}_mean"
    return float(measures[name])


def _clear_offset(measures: Measures, rules: RulesConfig) -> float | None:
    """Frames that sound and picture are apart, where that is clear and matters."""
    is_clear = measures["av_confidence"] >= rules.min_av_confidence
    is_better = measures["av_gain"] >= rules.min_av_gain
    if not (is_clear and is_better) or rules.wrong_offset == "correct":
        return None
    return abs(float(measures["av_offset_frames"]))


def _sync_offset(measures: Measures, rules: RulesConfig) -> float | None:
    return None if rules.wrong_offset == "correct" else abs(float(measures["sync_offset_frames"]))


def _offset_said(measure: str, setting: str) -> Callable[[Measures, RulesConfig], str]:
    def said(measures: Measures, rules: RulesConfig) -> str:
        frames = measures[measure]
        side = "early" if frames > 0 else "late"
        return f"sound {abs(frames)} frames too {side} > {getattr(rules, setting)}"

    return said


RULES: Final[tuple[Rule, ...]] = (
    _bounded(
        "frame_too_small",
        ("width", "height"),
        ("min_frame_px",),
        Bound("shorter side of the picture", _frame_side, lambda r: r.min_frame_px or 0, True, " px"),
        says=_frame_said,
    ),
    _least("too_short", "seconds", "min_seconds", " s"),
    _most("too_long", "seconds", "max_seconds", " s"),
    _least("fps_too_low", "video_fps", "min_fps"),
    _least("cut_off", "readable_share", "min_readable_share"),
    Rule("no_sound", ("sound_state",), (), _no_sound),
    _least("silent", "sound_peak_db", "min_sound_db", " dB"),
    _least("too_little_speech", "speech_share", "min_speech_share"),
    _most("clipped_sound", "clipped_share", "max_clipped_share"),
    _least("light_no_face", "light_face_share", "light_single_share"),
    _bounded(
        "light_several_faces",
        ("light_face_share", "light_single_share"),
        ("light_single_share",),
        Bound(
            "share of the key frames with several faces",
            _several("light_"),
            lambda r: round(1 - (r.light_single_share or 0.0), 9),
            False,
        ),
    ),
    _bounded(
        "light_face_too_small",
        ("light_face_px",),
        ("light_single_share", "min_face_px"),
        Bound(
            "light_face_px",
            lambda measures, _rules: measures["light_face_px"],
            lambda r: r.guard * (r.min_face_px or 0),
            True,
            " px",
        ),
    ),
    _bounded(
        "several_shots",
        ("cut_scores",),
        ("max_shots",),
        Bound("shots", _shots, lambda r: r.max_shots or 1, False),
    ),
    _most("damaged", "damaged_share", "max_damaged_share"),
    _least("still_picture", "change", "min_change"),
    _least("no_face", "face_share", "min_single_share"),
    _bounded(
        "several_faces",
        ("face_share", "single_share"),
        ("min_single_share",),
        Bound(
            "share of the frames with several faces",
            _several(""),
            lambda r: round(1 - (r.min_single_share or 0.0), 9),
            False,
        ),
    ),
    _bounded(
        "face_too_small",
        ("face_width_mean",),
        ("min_face_px",),
        Bound(
            "shorter side of the face",
            lambda measures, rules: min(_face_sides(measures, rules)),
            lambda r: r.min_face_px or 0,
            True,
            " px",
        ),
        says=_face_said,
    ),
    _least("square_too_small", "square_p10", "min_square_px", " px"),
    _bounded(
        "head_turned",
        ("rotation_magnitude_mean",),
        ("max_rotation_degrees",),
        Bound(
            "mean rotation of the head", _rotation, lambda r: r.max_rotation_degrees or 0.0, False, " degrees"
        ),
    ),
    _least("not_frontal", "frontal_share", "min_frontal_share"),
    _most("moves_too_much", "travel", "max_travel"),
    _least("blurred", "sharpness", "min_sharpness"),
    _most("poor_picture", "niqe", "max_niqe"),
    _bounded(
        "sound_off",
        ("av_offset_frames", "av_confidence", "av_gain"),
        ("max_av_offset_frames",),
        Bound(
            "offset of sound and picture, either way, where it is clear",
            _clear_offset,
            lambda r: r.max_av_offset_frames or 0,
            False,
            " frames",
        ),
        says=_offset_said("av_offset_frames", "max_av_offset_frames"),
    ),
    _bounded(
        "screen_sync_c_low",
        ("screen_sync_c",),
        ("min_sync_c",),
        Bound(
            "screen_sync_c",
            lambda measures, _rules: measures["screen_sync_c"],
            lambda r: r.screen_guard * (r.min_sync_c or 0.0),
            True,
        ),
    ),
    _bounded(
        "screen_sync_d_high",
        ("screen_sync_d",),
        ("max_sync_d",),
        Bound(
            "screen_sync_d",
            lambda measures, _rules: measures["screen_sync_d"],
            lambda r: (2 - r.screen_guard) * (r.max_sync_d or 0.0),
            False,
        ),
    ),
    _least("sync_c_low", "sync_c", "min_sync_c"),
    _most("sync_d_high", "sync_d", "max_sync_d"),
    _bounded(
        "sync_offset",
        ("sync_offset_frames",),
        ("max_sync_offset_frames",),
        Bound(
            "SyncNet's offset, either way",
            _sync_offset,
            lambda r: r.max_sync_offset_frames or 0,
            False,
            " frames",
        ),
        says=_offset_said("sync_offset_frames", "max_sync_offset_frames"),
    ),
)
"""Every rule that looks at one clip; `duplicate` looks at all of them, see duplicates.py."""
