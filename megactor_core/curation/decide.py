"""Which clips are kept: a pure function of stored measures and rules.

Measuring stops at the first gate whose rules are broken, so a clip's later measures may be absent. Loosening
a rule makes exactly those clips incomplete that it stopped; tightening one makes none.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from megactor_core.config.curate import GateName, RulesConfig
from megactor_core.curation.measures import Measures
from megactor_core.curation.rules import RULES, Failure, broken_rules, rule_named

Status = Literal["ok", "rejected", "pending"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a clip.

    ok: kept. rejected: `failures` says why, with all that is known. pending: nothing speaks against it, but
    gates are `missing`; a run measures them.
    """

    status: Status
    failures: tuple[Failure, ...]
    missing: tuple[GateName, ...]


def decide(
    measures: Measures, *, done: Collection[GateName], gates: Sequence[GateName], rules: RulesConfig
) -> Decision:
    """Decide on one clip: `done` are the gates that it passed through, `gates` those there are, in order."""
    missing = missing_gates(measures, done=done, gates=gates, rules=rules)
    failures = broken_rules(measures, rules)
    if not missing and not failures and rules.not_measured == "reject":
        failures = _not_measured(gates, rules)
    status: Status = "rejected" if failures else "pending" if missing else "ok"
    return Decision(status, tuple(failures), missing)


def missing_gates(
    measures: Measures,
    *,
    done: Collection[GateName],
    gates: Sequence[GateName],
    rules: RulesConfig,
    audited: bool = False,
) -> tuple[GateName, ...]:
    """The gates to take before the clip can be decided on, in order; () where there is nothing left to know.

    Of an audited clip every gate is taken, whatever rule is broken on the way.
    """
    for position, gate in enumerate(gates):
        if gate not in done:
            return tuple(later for later in gates[position:] if later not in done)
        if not audited and broken_rules(measures, rules, gates=[gate]):
            return ()
    return ()


def unmeasured_rules(gates: Sequence[GateName], rules: RulesConfig) -> list[str]:
    """Rules that are on, but whose gate is not taken: nothing can break them."""
    return [rule.name for rule in RULES if rule.is_on(rules) and rule.gate not in gates]


def _not_measured(gates: Sequence[GateName], rules: RulesConfig) -> list[Failure]:
    names = unmeasured_rules(gates, rules)
    return [Failure(name, None, None, "not measured") for name in names if not rule_named(name).is_screen]
