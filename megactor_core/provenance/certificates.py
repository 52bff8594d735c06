"""Certificates for signing media: making a pair of our own, and checking one that somebody gives.

The profile is C2PA's (specification 2.2, section 14.5): a leaf that may sign and carries the use
"emailProtection", below an authority; keys named by their identifiers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate, Extension, KeyUsage, Name

_VALID_FOR: Final = timedelta(days=3650)
"""Ours: without a time-stamp authority a signature is good for as long as its certificate."""
_CLOCKS_DIFFER_BY: Final = timedelta(days=1)
"""The certificate begins so long ago, for machines whose clocks are behind."""
_ECDSA: Final = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_MIN_RSA_BITS: Final = 2048


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key with the certificates that vouch for it, leaf first, all PEM."""

    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    algorithm: str
    """C2PA's name: es256, es384, es512, ps256 or ed25519."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A new signing key below an authority of its own, whose private key exists nowhere any more."""

    key: SigningKey
    authority_pem: bytes


def make_key_pair() -> KeyPair:
    """A fresh authority, and a key on the curve P-256 that it has certified."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    # A mark without meaning: whose machine it is is nobody's business.
    mark = token_hex(4)
    issuer = _name("authority", mark)
    authority = _certificate(issuer, issuer, authority_key.public_key(), authority_key, is_authority=True)
    leaf = _certificate(_name("signer", mark), issuer, key.public_key(), authority_key, is_authority=False)
    encoding = serialization.Encoding.PEM
    authority_pem = authority.public_bytes(encoding)
    key_pem = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain_pem = leaf.public_bytes(encoding) + authority_pem
    return KeyPair(SigningKey(chain_pem, key_pem, "es256"), authority_pem)


def signing_key(chain_pem: bytes, key_pem: bytes) -> SigningKey:
    """The key with its certificates, checked; raises ValueError that says what is wrong with which."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        leaf = x509.load_pem_x509_certificates(chain_pem)[0]
    except ValueError:
        raise ValueError("the certificate is no PEM certificate") from None
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except TypeError:
        raise ValueError("the private key is protected by a password") from None
    except Exception:  # ValueError, UnsupportedAlgorithm and what a later release may raise
        raise ValueError("the private key is no PEM private key") from None
    der, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if leaf.public_key().public_bytes(der, form) != key.public_key().public_bytes(der, form):
        raise ValueError("the private key does not belong to the certificate")
    for reason in _unfit(leaf):
        raise ValueError(reason)
    return SigningKey(chain_pem, key_pem, _algorithm(key))


def require_certificates(pem: bytes) -> None:
    """Raises ValueError where `pem` holds no certificate, or something else."""
    from cryptography import x509

    x509.load_pem_x509_certificates(pem)


def _unfit(leaf: "Certificate") -> Iterator[str]:
    """Why the certificate cannot sign media now."""
    from cryptography import x509

    now = datetime.now(UTC)
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        yield (
            f"the certificate is valid from {leaf.not_valid_before_utc:%Y-%m-%d} to "
            f"{leaf.not_valid_after_utc:%Y-%m-%d}, and now is {now:%Y-%m-%d}"
        )
    try:
        usage: Extension[KeyUsage] = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    except x509.ExtensionNotFound:
        yield "the certificate does not say what its key is for (no key usage)"
    else:
        if not usage.value.digital_signature:
            yield "the certificate does not allow digital signatures"


def _algorithm(key: "PrivateKeyTypes") -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    match key:
        case ec.EllipticCurvePrivateKey(curve=curve) if curve.name in _ECDSA:
            return _ECDSA[curve.name]
        case rsa.RSAPrivateKey() if key.key_size >= _MIN_RSA_BITS:
            return "ps256"
        case ed25519.Ed25519PrivateKey():
            return "ed25519"
    raise ValueError(
        f"the key is of a kind that C2PA does not take; it takes ECDSA on P-256, P-384 or P-521, RSA of "
        f"{_MIN_RSA_BITS} bits or more, and Ed25519"
    )


def _name(role: str, mark: str) -> "Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"megactor local key {mark}"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"megactor local {role} {mark}"),
        ]
    )


def _certificate(
    subject: "Name",
    issuer: "Name",
    public_key: "EllipticCurvePublicKey",
    authority_key: "EllipticCurvePrivateKey",
    *,
    is_authority: bool,
) -> "Certificate":
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER_BY)
        .not_valid_after(now + _VALID_FOR)
        .add_extension(x509.BasicConstraints(is_authority, 0 if is_authority else None), critical=True)
        .add_extension(_key_usage(is_authority=is_authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
    )
    if not is_authority:
        use = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(use, critical=False)
    return builder.sign(authority_key, hashes.SHA256())


def _key_usage(*, is_authority: bool) -> "KeyUsage":
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
