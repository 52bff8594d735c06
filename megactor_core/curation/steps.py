"""How a clip goes through the gates: a gate's measures are added to its row, then its rules are asked.

A row of the job carries, beside what the source says of the clip:
    measures      name -> value
    done          gates taken, and `versions`, what their measures depend on
    todo          gates to take; those that an earlier run took are not taken again
    stopped       the gate at which measuring stopped, None where it did not
    audited       whether all gates are taken, whatever rule is broken
    unmeasured    name of a measure -> why there is none
    gate_seconds  processor time by gate, decoding within the first gate that asks for frames
    gpu_seconds   time on a GPU by gate, where there is one
    decodes       times that the whole clip was decoded
    crop_bytes    size of the crops that SyncNet was given, where it was
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from megactor_core.config.curate import GateName, RulesConfig
from megactor_core.curation.measures import of_gate
from megactor_core.curation.rules import broken_rules
from megactor_core.engine.stage import Rejected, Row


@dataclass(frozen=True, slots=True)
class Taken:
    """What a gate measured; `unmeasured` says why some measures are absent."""

    measures: dict[str, Any]
    unmeasured: dict[str, str]


def take(row: Row, gate: GateName, measure: Callable[[], Taken], *, rules: RulesConfig) -> Row:
    """The row after a gate, if it is still to be taken.

    Raises Rejected with the row's values where a rule of the gate is broken and the clip is not audited.
    """
    if gate not in row["todo"]:
        return row
    start = time.process_time()
    taken = measure()
    row = spent(row, gate, time.process_time() - start)
    row = {
        **row,
        "measures": row["measures"] | _complete(gate, taken.measures),
        "unmeasured": row["unmeasured"] | taken.unmeasured,
        "done": [*row["done"], gate],
        "todo": [other for other in row["todo"] if other != gate],
    }
    broken = broken_rules(row["measures"], rules, gates=[gate])
    if broken and not row["audited"]:
        raise Rejected(broken[0].rule, values={**row, "stopped": gate})
    return row


def spent(row: Row, gate: GateName, seconds: float) -> Row:
    """The row with more processor time on a gate's account."""
    before = row["gate_seconds"]
    return {**row, "gate_seconds": before | {gate: before.get(gate, 0.0) + seconds}}


def wants(row: Row, gates: Sequence[GateName]) -> bool:
    """Whether one of the gates is still to be taken."""
    return bool(set(gates) & set(row["todo"]))


def _complete(gate: GateName, measures: dict[str, Any]) -> dict[str, Any]:
    """All measures of the gate, None for those that could not be taken."""
    names = of_gate(gate)
    unknown = measures.keys() - set(names)
    assert not unknown, f"{gate} has no measure {unknown}"
    return {name: measures.get(name) for name in names}
