"""Which gates a run takes, with what, and what their measures depend on."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from megactor_core import weights
from megactor_core.config.animate import LandmarkBackEnd
from megactor_core.config.curate import GATES, GateName, MeasureConfig
from megactor_core.errors import MegActorError, WeightsError
from megactor_core.faces.landmarks import prepare
from megactor_core.files import sha256_of
from megactor_core.metrics import syncnet
from megactor_core.weights_sources import ProgressCallback

CODE_VERSIONS: Final[dict[GateName, int]] = {
    **dict.fromkeys(GATES, 1),
    **dict.fromkeys(("light_faces", "av_sync", "sync_screen", "sync"), 2),
    **dict.fromkeys(("faces", "motion", "quality"), 3),
}
"""Raise a gate's number when the same clip would come out of it with other measures."""
SYNC_GATES: Final[tuple[GateName, ...]] = ("sync_screen", "sync")


@dataclass(frozen=True, slots=True)
class Missing:
    """What cannot be measured for want of weights."""

    what: str
    why: str
    fix: str
    instead: str
    """What is measured in its place; empty for nothing."""
    gates: tuple[GateName, ...] = ()
    """Gates that are not taken for it."""


@dataclass(frozen=True, slots=True)
class GatePlan:
    """What a run measures.

    gates: in order. versions: what each one's measures depend on. landmarks: the detector of record as it is
    there. syncnet: the file of its weights, None where it is not measured.
    """

    measure: MeasureConfig
    gates: tuple[GateName, ...]
    versions: dict[GateName, str]
    landmarks: LandmarkBackEnd
    syncnet: Path | None
    missing: tuple[Missing, ...]


def plan_gates(config: MeasureConfig, *, on_progress: ProgressCallback | None = None) -> GatePlan:
    """See what is there; the small face models are fetched.

    Raises WeightsError or UsageError where the detector of record is missing and nothing may take its place.
    """
    missing: list[Missing] = []
    landmarks = _landmarks(config, missing, on_progress)
    prepare("mediapipe", on_progress=on_progress)  # the first look's
    if config.track_landmarks != landmarks:
        prepare(config.track_landmarks, on_progress=on_progress)
    network = _syncnet(config, missing)
    gates = tuple(
        gate for gate in GATES if gate in config.gates and (network is not None or gate not in SYNC_GATES)
    )
    return GatePlan(
        measure=config,
        gates=gates,
        versions=_versions(config, landmarks, network),
        landmarks=landmarks,
        syncnet=network,
        missing=tuple(missing),
    )


def _landmarks(
    config: MeasureConfig, missing: list[Missing], on_progress: ProgressCallback | None
) -> LandmarkBackEnd:
    try:
        prepare(config.landmarks, on_progress=on_progress)
    except MegActorError as error:
        if config.missing_landmarks == "fail" or config.landmarks == "mediapipe":
            fix = f"{error.fix} Or set measure.missing_landmarks=mediapipe.".strip()
            raise type(error)(error.message, fix=fix) from None
        missing.append(
            Missing(
                what=f"face size and rotation by {config.landmarks}",
                why=error.message,
                fix=f"Run `megactor weights pull {config.landmarks}`.",
                instead="mediapipe",
            )
        )
        return "mediapipe"
    return config.landmarks


def _syncnet(config: MeasureConfig, missing: list[Missing]) -> Path | None:
    if not set(SYNC_GATES) & set(config.gates):
        return None
    if config.syncnet is not None:
        if not config.syncnet.is_file():
            raise WeightsError(f"There is no weights file '{config.syncnet}'.", fix="Check measure.syncnet.")
        return config.syncnet.absolute()
    try:
        return weights.find(syncnet.ENTRY) / syncnet.WEIGHTS_FILE
    except WeightsError as error:
        missing.append(
            Missing(
                what="Sync-C and Sync-D by SyncNet",
                why=error.message,
                fix=f"Run `megactor weights pull {syncnet.ENTRY}`.",
                instead="the audio-visual check without weights" if "av_sync" in config.gates else "",
                gates=SYNC_GATES,
            )
        )
        return None


def _versions(config: MeasureConfig, landmarks: LandmarkBackEnd, network: Path | None) -> dict[GateName, str]:
    looks = [str(landmarks), config.face_seconds, config.second_face_ratio]
    digest = None if network is None else sha256_of(network)
    depends: dict[GateName, list[Any]] = {
        "probe": [],
        "sound": [config.floor_db],
        "light_faces": [config.light_seconds, config.second_face_ratio],
        "shots": [config.cut_width_px],
        "faces": [*looks, config.angle_face_px],
        "motion": looks,
        "quality": [*looks, config.sharpness_side_px, config.niqe_frames],
        "av_sync": [config.track_landmarks, config.lips_face_px],
        "sync_screen": [config.track_landmarks, config.screen_share, digest],
        "sync": [config.track_landmarks, digest],
    }
    return {gate: _digest([CODE_VERSIONS[gate], *values]) for gate, values in depends.items()}


def _digest(values: list[Any]) -> str:
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=6).hexdigest()
