"""What a clip of the corpus is: who is in it, what is wrong with it, and where its files lie."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from megactor_core.config.splits import split_of
from megactor_core.config.synth import FaultKind, SynthConfig
from megactor_core.synthetic.faults import Fault, draw_fault

DATASET = "synthetic"

# Streams of random numbers under the seed of the corpus.
_IDENTITY, _CLIP = 61, 62
_SEEDS = 2**32


@dataclass(frozen=True, slots=True)
class ClipFiles:
    """Where a clip and its truth lie, relative to the corpus."""

    video: Path
    truth: Path

    @staticmethod
    def of(clip_id: str) -> "ClipFiles":
        return ClipFiles(Path("clips") / f"{clip_id}.mp4", Path("truth") / f"{clip_id}.parquet")


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """Everything that is drawn for a clip; the pictures and sounds follow from it and the settings.

    seed: of motion, speech and fault. other_seed: of the second person, where the fault wants one.
    """

    number: int
    seed: int
    identity_seed: int
    twin_seed: int
    other_seed: int
    fault: Fault | None

    @property
    def clip_id(self) -> str:
        return f"synth-{self.number:06d}"

    @property
    def twin_id(self) -> str:
        return f"{self.clip_id}-twin"

    @property
    def files(self) -> ClipFiles:
        return ClipFiles.of(self.clip_id)

    @property
    def twin_files(self) -> ClipFiles:
        """Those of the twin, where the corpus has twins."""
        return ClipFiles.of(self.twin_id)

    @property
    def identity(self) -> str:
        """The person's name, the same in every corpus in which the person is drawn."""
        return identity_name(self.identity_seed)

    @property
    def twin_identity(self) -> str:
        return identity_name(self.twin_seed)

    @property
    def fault_kind(self) -> FaultKind | None:
        return self.fault.kind if self.fault else None

    def fault_size(self, kind: FaultKind) -> float | None:
        """How much of this fault the clip has, None where it has not."""
        return self.fault.size if self.fault and self.fault.kind == kind else None


def plan_clip(number: int, config: SynthConfig) -> ClipPlan:
    """The plan of a clip: a pure function of its number and the settings, however many clips there are."""
    person = np.random.default_rng([config.seed, _IDENTITY, number % config.identities])
    draw = np.random.default_rng([config.seed, _CLIP, number])
    seed, twin_seed, other_seed = (int(value) for value in draw.integers(_SEEDS, size=3))
    return ClipPlan(
        number=number,
        seed=seed,
        identity_seed=int(person.integers(_SEEDS)),
        twin_seed=twin_seed,
        other_seed=other_seed,
        fault=draw_fault(number, config.faults, seed=config.seed, clip_seed=seed, frames=config.frames),
    )


def identity_name(identity_seed: int) -> str:
    """The name of the person that is drawn from a seed, which decides on the split too."""
    return f"{DATASET}-{identity_seed:08x}"


def clip_facts(plan: ClipPlan, config: SynthConfig) -> dict[str, Any]:
    """What the manifest says of a clip beside its paths."""
    return {
        "clip_id": plan.clip_id,
        "identity": plan.identity,
        "split": split_of(plan.identity),
        "seed": plan.seed,
        "fault": plan.fault_kind,
        "fault_size": (plan.fault.size or None) if plan.fault else None,
        "has_audio": plan.fault_kind != "no_sound",
        "frames": config.frames,
        "video_fps": float(config.fps),
        "width": config.size,
        "height": config.size,
        "seconds": float(config.frames / config.fps),
    }
