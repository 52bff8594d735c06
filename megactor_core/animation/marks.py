"""What marks a video as made by this tool: the tags in the file, and its signed manifest."""

import json
from pathlib import Path
from typing import Any, Final

from megactor_core.animation.badge import Badge
from megactor_core.animation.plan import CADENCE, Plan
from megactor_core.config.animate import AnimateConfig
from megactor_core.media.video_writer import Seal
from megactor_core.models.checkpoint import Checkpoint
from megactor_core.provenance.certificates import SigningKey
from megactor_core.provenance.keys import local_key, read_key
from megactor_core.provenance.manifest import DIGITAL_SOURCE_TYPE, TOOL, Ingredient, Manifest, printable
from megactor_core.provenance.sign import sign_video
from megactor_core.version import megactor_version

_PATHS: Final = {"reference", "driving", "audio", "checkpoint", "c2pa_cert", "c2pa_key"}
"""Settings that say where things lie on the user's machine: they stay out of the video."""


def tool() -> str:
    """The name and version of this tool, as every mark gives them."""
    return f"{TOOL} {megactor_version()}"


def open_key(config: AnimateConfig) -> SigningKey | None:
    """The key to sign with: the one given, else this user's own; None where nothing is to be signed.

    Raises CredentialError.
    """
    if not config.provenance:
        return None
    if config.c2pa_cert is not None and config.c2pa_key is not None:
        return read_key(config.c2pa_cert, config.c2pa_key)
    return local_key()


def facts_of(job: Plan, checkpoint: Checkpoint, badge: Badge) -> dict[str, Any]:
    """How the video was made, in plain values and without a path: what its tags and its manifest say."""
    config = job.config
    return {
        "tool": tool(),
        "synthetic": True,
        "checkpoint": checkpoint.info.name,
        "checkpoint_sha256": checkpoint.sha256,
        "trained": checkpoint.info.trained,
        "modalities": job.modalities,
        "audio_scale": config.audio_scale,
        "alpha": config.alpha,
        "regions": sorted(job.regions),
        "seed": config.seed,
        "badge": badge.to_json(),
        "inputs": {
            role: {"name": printable(Path(file["path"]).name), "sha256": file["sha256"]}
            for role, file in job.input_hashes().items()
        },
        "config": config.model_dump(mode="json", exclude={*_PATHS, *CADENCE}),
    }


def tags_of(facts: dict[str, Any]) -> dict[str, str]:
    """What the video says of itself, in its own metadata: facts, and IPTC's term for what a model made."""
    return {
        "comment": json.dumps(facts, ensure_ascii=False),
        "digital_source_type": DIGITAL_SOURCE_TYPE,
    }


def seal_of(video: Path, job: Plan, facts: dict[str, Any], key: SigningKey | None) -> Seal | None:
    """What signs `video`, one of the job's, before it gets its name; None where there is no key."""
    if key is None:
        return None
    files = {"reference": job.reference, "driving": job.config.driving, "audio": job.config.audio}
    ingredients = tuple(
        Ingredient(path=path, sha256=facts["inputs"][role]["sha256"])
        for role, path in files.items()
        if path is not None
    )

    def seal(source: Path, target: Path) -> None:
        manifest = Manifest(title=printable(video.name), facts=facts, ingredients=ingredients)
        sign_video(source, target, manifest=manifest, key=key)

    return seal
