"""The stages of the job, cheapest first: three that hardly decode, one that decodes, one that runs SyncNet.

Their versions do not change with settings: what a clip's measures depend on is part of its own row, gate by
gate, so that a change of one setting takes one gate again. For the same reason there are always all of them.
"""

from pathlib import Path

from megactor_core.config.curate import CurateConfig
from megactor_core.curation.gates import GatePlan
from megactor_core.curation.scan import LightFaces, Listen, Probe
from megactor_core.curation.score_sync import Sync
from megactor_core.curation.watch import Watch
from megactor_core.engine.stage import Stage


def make_stages(config: CurateConfig, plan: GatePlan, *, work: Path) -> list[Stage]:
    """probe, sound, light_faces, watch and sync, whatever gates there are; `work` is for crops."""
    measure, rules, limits = config.measure, config.rules, config.limits
    return [
        Probe(rules, limits),
        Listen(measure, rules, limits),
        LightFaces(measure, rules, limits),
        Watch(measure, rules, limits, plan, work),
        Sync(measure, rules, limits, plan.syncnet),
    ]
