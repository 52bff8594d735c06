"""Which identities are for training and which are kept back to validate on."""

import hashlib
from typing import Literal, get_args

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = get_args(Split)

VALIDATION_ONE_IN = 10
"""9:1 (not in the paper)."""


def split_of(identity: str) -> Split:
    """The split of an identity: a hash of its name, so that it never changes and no clip straddles two."""
    digest = hashlib.blake2b(identity.encode(), digest_size=8).digest()
    return "validation" if int.from_bytes(digest, "big") % VALIDATION_ONE_IN == 0 else "train"
