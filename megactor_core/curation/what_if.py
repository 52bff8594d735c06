"""What would be kept if one limit alone were looser or tighter, from the measures that are there.

A limit is a setting: two rules that share it move together, as they would in a recipe. Which clips a moved
limit can concern follows from the numbers that its rules compare; those clips, and no others, are decided on
again, by the same code as always.

Shape legend:  N clips
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from megactor_core.config.curate import RulesConfig
from megactor_core.curation.manifest import DUPLICATE, Judged, decide_alone, without_duplicates
from megactor_core.curation.rules import RULES, Rule

STEPS: Final = (-0.25, -0.1, 0.1, 0.25)
"""By how much a limit is moved, as a share of itself; looser first (ours)."""
Numbers = Mapping[str, np.ndarray]
"""By name of the rule: the number that it compares, (N,) in the order of the clips; NaN for none."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What becomes of all clips by some rules."""

    clips: int
    seconds: float
    undecided: int
    """Clips that nothing speaks against, but of which gates are still to be measured."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What a moved limit would do."""

    limit: float
    kept: Kept


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A limit, the rules that have it, and what each of STEPS would do; None where it cannot be moved so."""

    setting: str
    limit: float
    rules: tuple[str, ...]
    moved: tuple[Moved | None, ...]


def compared_numbers(judged: Sequence[Judged], rules: RulesConfig) -> dict[str, np.ndarray]:
    """What each rule that is on compares with its limit; rules with no number of any clip are left out."""
    known = [clip for clip in judged if clip.decision is not None]
    numbers = {}
    for rule in RULES:
        if rule.bound is not None and rule.is_on(rules):
            values = [rule.value(clip.measures, rules) for clip in known]
            if any(value is not None for value in values):
                numbers[rule.name] = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    return numbers


def what_if(judged: Sequence[Judged], rules: RulesConfig, numbers: Numbers) -> list[WhatIf]:
    """Move each limit that has something to limit; `numbers` are those of the same clips."""
    known = [clip for clip in judged if clip.decision is not None]
    # Which of two copies is kept depends on the rules, so each clip is first decided on alone.
    alone = [decide_alone(clip, rules) if _is_copy(clip) else clip for clip in known]
    now = _kept(alone, rules)
    found = []
    for setting in _settings(numbers):
        limit = getattr(rules, setting)
        limits = [moved_limit(setting, limit, step) for step in STEPS]
        others = [None if moved is None else rules.updated(**{setting: moved}) for moved in limits]
        concerned = _concerned(setting, numbers, rules, [other for other in others if other is not None])
        moved = [
            None
            if to is None or other is None
            else Moved(to, _decided(alone, rules, other, concerned, numbers, now))
            for to, other in zip(limits, others, strict=True)
        ]
        found.append(WhatIf(setting, limit, tuple(rule.name for rule in concerned), tuple(moved)))
    return found


def moved_limit(setting: str, limit: float, step: float) -> float | None:
    """A limit that is tighter by a share of itself, or looser where `step` is negative.

    Whole numbers move by one at least, and nothing leaves the range of its setting; None where it would
    stay as it is.
    """
    upwards = step if not setting.startswith("max_") else -step
    moved = limit + upwards * abs(limit)
    if isinstance(limit, int):
        moved = math.ceil(moved) if upwards > 0 else math.floor(moved)
        if moved == limit:
            moved += 1 if upwards > 0 else -1
    for rule in RulesConfig.model_fields[setting].metadata:
        if getattr(rule, "ge", None) is not None:
            moved = max(moved, rule.ge)
        if getattr(rule, "le", None) is not None:
            moved = min(moved, rule.le)
    return None if moved == limit else moved


def _settings(numbers: Numbers) -> list[str]:
    """The limits of the rules that have numbers, in the order of the rules."""
    return list(dict.fromkeys(name for rule in RULES if rule.name in numbers for name in rule.settings))


def _concerned(
    setting: str, numbers: Numbers, rules: RulesConfig, others: Iterable[RulesConfig]
) -> list[Rule]:
    """The rules whose limit moves with the setting; some have a setting only to be off without it."""
    return [
        rule
        for rule in RULES
        if rule.name in numbers
        and rule.bound is not None
        and setting in rule.settings
        and any(rule.bound.limit(other) != rule.bound.limit(rules) for other in others)
    ]


def _decided(
    alone: Sequence[Judged],
    rules: RulesConfig,
    other: RulesConfig,
    concerned: Iterable[Rule],
    numbers: Numbers,
    now: Kept,
) -> Kept:
    """What other rules keep: clips for which a concerned rule turns out otherwise are decided on again."""
    changed = np.zeros(len(alone), dtype=bool)
    for rule in concerned:
        changed |= _past(rule, numbers, rules) != _past(rule, numbers, other)
    if not changed.any():
        return now
    return _kept(
        [
            decide_alone(clip, other) if is_changed else clip
            for clip, is_changed in zip(alone, changed, strict=True)
        ],
        other,
    )


def _past(rule: Rule, numbers: Numbers, rules: RulesConfig) -> np.ndarray:
    """Which clips break a rule, (N,) bool."""
    assert rule.bound is not None, "rules without numbers have no limits"
    values, limit = numbers[rule.name], rule.bound.limit(rules)
    return np.asarray(values < limit if rule.bound.is_floor else values > limit)


def _kept(alone: Sequence[Judged], rules: RulesConfig) -> Kept:
    kept = [clip for clip in without_duplicates([clip for clip in alone if clip.keep], rules) if clip.keep]
    return Kept(
        clips=len(kept),
        seconds=sum(clip.seconds for clip in kept),
        undecided=sum(clip.status == "pending" for clip in alone),
    )


def _is_copy(clip: Judged) -> bool:
    return any(failure.rule == DUPLICATE for failure in clip.failures)
