"""Where signing keys are: this user's own, made on first use, or files that the user names."""

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from megactor_core.errors import CredentialError
from megactor_core.files import flush_folder, read_bytes
from megactor_core.provenance.certificates import (
    KeyPair,
    SigningKey,
    make_key_pair,
    require_certificates,
    signing_key,
)

CHAIN, KEY, AUTHORITY = "certificate.pem", "private-key.pem", "authority.pem"
_OWNER_ONLY: Final = 0o600
_TAKEN: Final = (errno.ENOTEMPTY, errno.EEXIST)
_MAX_PEM_BYTES: Final = 1 << 20
_ELSEWHERE: Final = (
    "Name a folder that you may write to with MEGACTOR_HOME, give --c2pa-cert and --c2pa-key, "
    "or leave the video unsigned with --no-provenance."
)


def home() -> Path:
    """This user's own folder: $MEGACTOR_HOME, else $XDG_CONFIG_HOME/megactor, else ~/.config/megactor.

    Raises CredentialError where there is no home.
    """
    if chosen := os.environ.get("MEGACTOR_HOME"):
        return Path(chosen)
    settings = os.environ.get("XDG_CONFIG_HOME", "")
    if os.path.isabs(settings):  # any other counts as none (XDG base directory specification)
        return Path(settings) / "megactor"
    try:
        return Path.home() / ".config" / "megactor"
    except RuntimeError:
        raise CredentialError(
            "This user has no home folder to keep a signing key in.", fix=_ELSEWHERE
        ) from None


def local_folder() -> Path:
    """The folder of this user's own pair; not created here."""
    return home() / "signing"


def local_key() -> SigningKey:
    """This user's own key, made on first use: certificate, authority, and a private key for its owner alone.

    Several processes may come at once; all get the pair of the first. Raises CredentialError where the folder
    cannot be written, or holds what is no pair.
    """
    folder = local_folder()
    if not folder.exists():
        _keep(make_key_pair(), folder)
    return read_key(folder / CHAIN, folder / KEY, fix=f"Remove '{folder}': the next run makes a new pair.")


def read_key(chain: Path, key: Path, *, fix: str = "") -> SigningKey:
    """The pair in two PEM files, certificate chain with the leaf first; raises CredentialError."""
    chain_pem, key_pem = (_read(path, fix=fix) for path in (chain, key))
    try:
        return signing_key(chain_pem, key_pem)
    except ValueError as error:
        raise CredentialError(
            f"'{chain}' and '{key}' cannot sign: {error}.",
            fix=fix or "Give the PEM files of one pair with --c2pa-cert and --c2pa-key.",
        ) from None


def read_anchors(path: Path | None) -> bytes:
    """The certificates to trust, PEM: those in `path`, and this user's own authority where there is one.

    Raises CredentialError.
    """
    anchors = b""
    own = local_folder() / AUTHORITY
    for source in (path, own if own.exists() else None):
        if source is None:
            continue
        pem = _read(source)
        try:
            require_certificates(pem)
        except ValueError:
            raise CredentialError(
                f"'{source}' holds no PEM certificate.",
                fix="Give certificates that begin with -----BEGIN CERTIFICATE-----.",
            ) from None
        anchors += pem.rstrip() + b"\n"
    return anchors


def _read(path: Path, *, fix: str = "") -> bytes:
    try:
        return read_bytes(path, max_bytes=_MAX_PEM_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CredentialError(
            f"Cannot read '{path}' ({reason}).", fix=fix or "Give a PEM file that you may read."
        ) from None


def _keep(pair: KeyPair, folder: Path) -> None:
    """Write the pair into a new folder that gets its name when it is whole; the first of several wins."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".signing-", dir=folder.parent))
        try:
            for name, content in (
                (CHAIN, pair.key.chain_pem),
                (KEY, pair.key.key_pem),
                (AUTHORITY, pair.authority_pem),
            ):
                _write_for_owner(temporary / name, content)
            flush_folder(temporary)
            _rename_unless_taken(temporary, folder)
            flush_folder(folder.parent, contents=False)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise CredentialError(
            f"Cannot keep a signing key in '{folder}' ({error.strerror or error}).", fix=_ELSEWHERE
        ) from None


def _rename_unless_taken(temporary: Path, folder: Path) -> None:
    try:
        os.rename(temporary, folder)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise


def _write_for_owner(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "wb") as file:
        file.write(content)
