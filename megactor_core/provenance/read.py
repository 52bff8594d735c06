"""Reading a video's signed manifest back, and judging it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from megactor_core.errors import first_line
from megactor_core.provenance.library import context
from megactor_core.provenance.manifest import FACTS_LABEL, VIDEO_FORMAT, ingredient_rows
from megactor_core.signals import undisturbed

State = Literal["trusted", "valid", "altered", "invalid", "absent"]
"""Signed by a key below an anchor; signed by an unknown key and unchanged; changed after signing; unchanged,
but signed with a certificate that cannot be accepted (it has expired, say); without a manifest."""

_UNTRUSTED: Final = "signingCredential.untrusted"
_OF_THE_CERTIFICATE: Final = ("signingCredential.", "claimSignature.outsideValidity", "timeStamp.")
"""What these begin with says nothing about the content (C2PA specification 2.2, section 15.2)."""
_C2PA_BOX: Final = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
"""The identifier of the box that holds a manifest (C2PA specification 2.2, appendix A.5)."""
_MAX_BOXES: Final = 100_000


@dataclass(frozen=True, slots=True)
class Credential:
    """What a file's manifest says, and whether it can be believed."""

    state: State
    problems: tuple[str, ...] = ()
    """C2PA's codes of what is wrong, or the reader's words."""
    signer: str | None = None
    signed_by: str | None = None
    """Name and organisation in the certificate."""
    made_by: str | None = None
    """The tool and its version."""
    source_type: str | None = None
    """IPTC's term for how it was made."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Of the assertion `megactor.animation`; empty for another tool's video."""
    ingredients: tuple[dict[str, Any], ...] = ()


def read_credential(path: Path, *, anchors_pem: bytes = b"") -> Credential:
    """The manifest of an mp4 or mov file, judged by the anchors; never raises for what is in the file.

    Facts of a manifest that is not valid are given too: `state` says what they are worth.
    Raises OSError where the file cannot be read.
    """
    return undisturbed(lambda: _read(path, anchors_pem=anchors_pem))


def _read(path: Path, *, anchors_pem: bytes) -> Credential:
    from c2pa import C2paError, Reader

    with path.open("rb") as file:
        try:
            with Reader(VIDEO_FORMAT, file, context=context(anchors_pem=anchors_pem)) as reader:
                return _judged(json.loads(reader.json()))
        except C2paError.ManifestNotFound:
            return Credential("absent")
        except (C2paError, ValueError, KeyError, TypeError, AttributeError) as error:
            file.seek(0)
            # A manifest that cannot be read was whole once; without one the file is simply unsigned.
            return (
                Credential("altered", (first_line(error),)) if _has_c2pa_box(file) else Credential("absent")
            )


def _judged(store: dict[str, Any]) -> Credential:
    manifest = store["manifests"][store["active_manifest"]]
    failures = store.get("validation_results", {}).get("activeManifest", {}).get("failure", [])
    problems = tuple(dict.fromkeys(str(failure["code"]) for failure in failures))
    signature = manifest.get("signature_info", {})
    generator = (manifest.get("claim_generator_info") or [{}])[0]
    return Credential(
        state=_state(str(store.get("validation_state", "")), problems),
        problems=tuple(problem for problem in problems if problem != _UNTRUSTED),
        signer=signature.get("common_name"),
        signed_by=signature.get("issuer"),
        made_by=" ".join(str(generator[key]) for key in ("name", "version") if key in generator) or None,
        source_type=_source_type(manifest),
        facts=_facts(manifest),
        ingredients=tuple(ingredient_rows(manifest)),
    )


def _state(verdict: str, problems: Sequence[str]) -> State:
    match verdict:
        case "Trusted":
            return "trusted"
        case "Valid":
            return "valid"
    content = [problem for problem in problems if not problem.startswith(_OF_THE_CERTIFICATE)]
    return "altered" if content or not problems else "invalid"


def _facts(manifest: dict[str, Any]) -> dict[str, Any]:
    for assertion in manifest.get("assertions", ()):
        if assertion.get("label") == FACTS_LABEL and isinstance(assertion.get("data"), dict):
            return dict(assertion["data"])
    return {}


def _source_type(manifest: dict[str, Any]) -> str | None:
    for assertion in manifest.get("assertions", ()):
        if str(assertion.get("label", "")).startswith("c2pa.actions"):
            for action in assertion["data"].get("actions", ()):
                if "digitalSourceType" in action:
                    return str(action["digitalSourceType"])
    return None


def _has_c2pa_box(file: BinaryIO) -> bool:
    """Whether one of an mp4 file's outermost boxes is that of a manifest, whatever is in it."""
    for _ in range(_MAX_BOXES):
        head = file.read(8)
        if len(head) < 8:
            return False
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        read = 8
        if size == 1:
            size, read = int.from_bytes(file.read(8), "big"), 16
        if kind == b"uuid":
            if file.read(16) == _C2PA_BOX:
                return True
            read += 16
        if size < read:
            return False
        file.seek(size - read, 1)
    return False
