"""The user's own pair: made once whoever comes, private, and refused where it is not one."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from megactor_core.errors import CredentialError
from megactor_core.provenance import keys
from megactor_core.provenance.certificates import SigningKey, make_key_pair, signing_key
from megactor_core.provenance.keys import (
    AUTHORITY,
    CHAIN,
    KEY,
    local_folder,
    local_key,
    read_anchors,
    read_key,
)

PAIRS = """
import sys
from megactor_core.provenance.keys import local_key
sys.stdin.readline()
sys.stdout.write(local_key().chain_pem.decode())
"""


def key_pem(key: object, password: bytes | None = None) -> bytes:
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def test_the_key_is_made_once_and_is_its_owners(home: Path) -> None:
    first = local_key()
    assert local_key() == first
    folder = home / "signing"
    assert stat.S_IMODE((folder / KEY).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name for path in home.iterdir()} == {"signing"}
    assert {path.name for path in folder.iterdir()} == {AUTHORITY, CHAIN, KEY}
    assert first.key_pem.decode() not in repr(first)


def test_the_certificates_are_what_c2pa_asks_for(pair: tuple[SigningKey, bytes]) -> None:
    key, authority_pem = pair
    leaf, authority = x509.load_pem_x509_certificates(key.chain_pem)
    assert x509.load_pem_x509_certificates(authority_pem) == [authority]
    leaf.verify_directly_issued_by(authority)
    value = {type(extension.value): extension.value for extension in leaf.extensions}
    assert value[x509.KeyUsage].digital_signature
    assert not value[x509.KeyUsage].key_cert_sign
    assert list(value[x509.ExtendedKeyUsage]) == [ExtendedKeyUsageOID.EMAIL_PROTECTION]
    assert not value[x509.BasicConstraints].ca
    signer_id = value[x509.AuthorityKeyIdentifier].key_identifier
    assert signer_id == x509.SubjectKeyIdentifier.from_public_key(authority.public_key()).digest
    assert x509.SubjectKeyIdentifier in value
    assert key.algorithm == "es256"


def test_two_users_differ(pair: tuple[SigningKey, bytes]) -> None:
    assert make_key_pair().key.chain_pem != pair[0].chain_pem


def test_processes_that_come_at_once_get_one_pair(home: Path) -> None:
    command = [sys.executable, "-c", PAIRS]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    chains = {process.communicate()[0] for process in processes}
    assert chains == {local_key().chain_pem.decode()}
    assert {path.name for path in home.iterdir()} == {"signing"}


def test_whoever_is_second_takes_the_pair_that_is_there(home: Path) -> None:
    """The other process is the faster one between the look and the rename."""
    first = local_key()
    keys._keep(make_key_pair(), local_folder())
    assert local_key() == first
    assert {path.name for path in home.iterdir()} == {"signing"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"MEGACTOR_HOME": "/a"}, "/a/signing"),
        ({"XDG_CONFIG_HOME": "/b"}, "/b/megactor/signing"),
        ({"XDG_CONFIG_HOME": "b"}, "/c/.config/megactor/signing"),
        ({}, "/c/.config/megactor/signing"),
    ],
)
def test_where_it_is(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], expected: str) -> None:
    for name in ("MEGACTOR_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/c")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert local_folder() == Path(expected)


def test_a_place_that_cannot_be_written_is_one_message(home: Path) -> None:
    home.write_text("a file")
    with pytest.raises(CredentialError, match="Cannot keep a signing key") as caught:
        local_key()
    for words in ("MEGACTOR_HOME", "--c2pa-cert", "--no-provenance"):
        assert words in caught.value.fix


@pytest.mark.parametrize("name", [CHAIN, KEY])
@pytest.mark.parametrize("damage", ["gone", "empty", "text", "folder", "endless"])
def test_a_damaged_pair_says_how_to_mend_it(home: Path, name: str, damage: str) -> None:
    local_key()
    path = local_folder() / name
    path.unlink()
    match damage:
        case "empty":
            path.touch()
        case "text":
            path.write_text("no key\n")
        case "folder":
            path.mkdir()
        case "endless":
            path.symlink_to("/dev/zero")
    with pytest.raises(CredentialError, match=r"Cannot read|cannot sign") as caught:
        local_key()
    assert str(path) in caught.value.message
    assert "makes a new pair" in caught.value.fix


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_key_is_one_message(home: Path) -> None:
    local_key()
    (local_folder() / KEY).chmod(0)
    with pytest.raises(CredentialError, match="Permission denied"):
        local_key()


def test_a_key_of_another_certificate_is_refused(home: Path, tmp_path: Path) -> None:
    local_key()
    (tmp_path / "other.pem").write_bytes(make_key_pair().key.key_pem)
    with pytest.raises(CredentialError, match="does not belong to the certificate") as caught:
        read_key(local_folder() / CHAIN, tmp_path / "other.pem")
    assert "--c2pa-cert" in caught.value.fix


def test_a_protected_key_is_refused(pair: tuple[SigningKey, bytes]) -> None:
    key = serialization.load_pem_private_key(pair[0].key_pem, password=None)
    with pytest.raises(ValueError, match="protected by a password"):
        signing_key(pair[0].chain_pem, key_pem(key, b"secret"))


def certificate_of(key: object, *, signs: bool = True, days: tuple[int, int] = (-1, 1)) -> bytes:
    from datetime import UTC, datetime, timedelta

    from cryptography.hazmat.primitives import hashes

    now, name = datetime.now(UTC), x509.Name([])
    usage = dict.fromkeys(
        (
            *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        ),
        False,
    )
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.KeyUsage(digital_signature=signs, **usage), critical=True)
    )
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("make", "algorithm"),
    [
        (lambda: ec.generate_private_key(ec.SECP256R1()), "es256"),
        (lambda: ec.generate_private_key(ec.SECP384R1()), "es384"),
        (lambda: rsa.generate_private_key(65537, 2048), "ps256"),
        (ed25519.Ed25519PrivateKey.generate, "ed25519"),
    ],
    ids=["es256", "es384", "ps256", "ed25519"],
)
def test_the_algorithm_is_the_keys(make: object, algorithm: str) -> None:
    key = make()
    assert signing_key(certificate_of(key), key_pem(key)).algorithm == algorithm


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"signs": False}, "does not allow digital signatures"),
        ({"days": (-9, -2)}, "is valid from"),
        ({"days": (2, 9)}, "is valid from"),
    ],
)
def test_a_certificate_that_may_not_sign_is_refused(settings: dict[str, object], words: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(ValueError, match=words):
        signing_key(certificate_of(key, **settings), key_pem(key))


def test_a_key_of_another_kind_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256K1())
    with pytest.raises(ValueError, match="of a kind that C2PA does not take"):
        signing_key(certificate_of(key), key_pem(key))


def test_anchors_are_those_given_and_the_users_own(
    home: Path, tmp_path: Path, pair: tuple[SigningKey, bytes]
) -> None:
    assert read_anchors(None) == b""
    assert not home.exists()  # reading makes no key
    local_key()
    own = (local_folder() / AUTHORITY).read_bytes()
    given = tmp_path / "anchor.pem"
    given.write_bytes(pair[1])
    assert read_anchors(None).strip() == own.strip()
    assert len(x509.load_pem_x509_certificates(read_anchors(given))) == 2
    given.write_text("no certificate")
    with pytest.raises(CredentialError, match="holds no PEM certificate"):
        read_anchors(given)
    with pytest.raises(CredentialError, match="Cannot read"):
        read_anchors(tmp_path / "none.pem")
