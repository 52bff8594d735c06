"""`megactor verify`: what a video says of its origin, layer by layer, and what that is worth.

The layers: a signed manifest that any change breaks; the tags in the file, which a copy of the streams may
keep; the description beside it; the badge that they all state.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from megactor_core.animation.output_paths import description_of, read_tags
from megactor_core.config.media import DEFAULT_LIMITS, MediaLimits
from megactor_core.errors import MediaError
from megactor_core.files import read_json, sha256_of
from megactor_core.media.container import content_kind, open_container, picture_stream, require_media_file
from megactor_core.provenance.keys import read_anchors
from megactor_core.provenance.read import Credential, State, read_credential

Verdict = Literal["valid", "altered", "unsigned"]
Beside = Literal["agrees", "absent", "unreadable", "of another file"]

_VERDICTS: Final[dict[State, Verdict]] = {
    "trusted": "valid",
    "valid": "valid",
    "altered": "altered",
    "invalid": "altered",
    "absent": "unsigned",
}
_HOLDS_BOXES: Final = "an mp4 or mov video"
"""In `content_kind`'s words: what can hold a manifest, of the videos that are read here."""
_COMPARED: Final = ("seed", "audio_scale", "alpha", "checkpoint_sha256", "badge")
"""Facts that the manifest, the tags and the description all give."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The layers of one file; `to_json` has the keys of `verify --json`."""

    file: Path
    verdict: Verdict
    credential: Credential
    """The signed manifest."""
    tags: dict[str, Any] | None
    """Facts in the file's own metadata; None where it has none of this tool."""
    description: Beside
    """The JSON file beside the video: whether the hash in it is this file's."""
    disagree: tuple[str, ...]
    """Facts on which the layers do not say the same."""

    @property
    def badge(self) -> dict[str, Any] | None:
        """The visible badge as the video states it; None where it states nothing."""
        return stated_badge(self.credential.facts or self.tags)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "file": str(self.file),
            "verdict": self.verdict,
            "c2pa": asdict(self.credential),
            "tags": self.tags,
            "description": self.description,
            "disagree": list(self.disagree),
            "badge": self.badge,
        }


def verify(video: Path, *, anchor: Path | None = None, limits: MediaLimits = DEFAULT_LIMITS) -> VerifyReport:
    """Look at every layer of a video; it is only read.

    Trusted are signatures below the certificates in `anchor` (PEM), and this user's own. Raises MediaError
    where the file is no video that can be read, and CredentialError where `anchor` is no certificate.
    """
    anchors_pem = read_anchors(anchor)
    require_media_file(video, limits=limits)
    credential = _credential(video, anchors_pem)
    tags = _tags(video, credential, limits)
    description, beside = _description(video)
    return VerifyReport(
        file=video,
        verdict=_VERDICTS[credential.state],
        credential=credential,
        tags=tags,
        description=beside,
        disagree=_disagreements(credential.facts, tags, description),
    )


def badge_seconds(video: Path, *, limits: MediaLimits) -> float:
    """How long a video carries a badge, by its tags or else its manifest; 0 where neither states one.

    Raises MediaError where it cannot be read.
    """
    facts = read_tags(video, limits=limits) or _credential(video).facts
    badge = stated_badge(facts)
    return 0.0 if badge is None else float(badge["until_seconds"])


def stated_badge(facts: Any) -> dict[str, Any] | None:
    """The badge of a video by its facts, where they state one in the expected form."""
    badge = facts.get("badge") if isinstance(facts, dict) else None
    if not isinstance(badge, dict) or not isinstance(badge.get("until_seconds"), int | float):
        return None
    return badge


def _credential(video: Path, anchors_pem: bytes = b"") -> Credential:
    if content_kind(video) != _HOLDS_BOXES:
        return Credential("absent")
    return read_credential(video, anchors_pem=anchors_pem)


def _tags(video: Path, credential: Credential, limits: MediaLimits) -> dict[str, Any] | None:
    """An altered file need not be readable as a video; any other must be one."""
    try:
        with open_container(video, limits=limits) as container:
            picture_stream(container, path=video)
        return read_tags(video, limits=limits)
    except MediaError:
        if credential.state == "absent":
            raise
        return None


def _description(video: Path) -> tuple[dict[str, Any], Beside]:
    try:
        values = read_json(description_of(video))
    except FileNotFoundError:
        return {}, "absent"
    except (OSError, ValueError):
        return {}, "unreadable"
    if not isinstance(values, dict) or "sha256" not in values:
        return {}, "unreadable"
    return values, "agrees" if values["sha256"] == sha256_of(video) else "of another file"


def _disagreements(*layers: dict[str, Any] | None) -> tuple[str, ...]:
    """Facts that two layers give differently."""
    told = [layer for layer in layers if layer]
    values = {name: [layer[name] for layer in told if name in layer] for name in _COMPARED}
    return tuple(name for name, found in values.items() if any(value != found[0] for value in found[1:]))
