"""The c2pa library, as it is used here: no network, no thumbnails, little memory."""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from c2pa import Context

_SETTINGS: Final[dict[str, Any]] = {
    "builder": {"thumbnail": {"enabled": False}},  # pictures of people stay out of what is signed
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": False},
    # Longer videos wait in a temporary file rather than in memory while they are signed.
    "core": {"backing_store_memory_threshold_in_mb": 64},
}


def context(*, anchors_pem: bytes = b"") -> "Context":
    """Settings for reading and signing; signatures below `anchors_pem` are trusted."""
    from c2pa import Context

    trust = {"trust": {"user_anchors": anchors_pem.decode("ascii", "replace")}} if anchors_pem else {}
    return Context.from_dict({**_SETTINGS, **trust})
