"""The lab's own certificate authority, and the certificate of the port that its nodes speak to.

Made once, of this lab alone, and known to a node by its fingerprint: no name of the internet vouches for it. The key
stays in the folder of secrets. Called by `control`; a machine that joins compares the `fingerprint`, and from then on
reads what it was given (`home.membership`).
"""

import hashlib
import ipaddress
import os
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from homelab.home.paths import Home

CA_FOR = timedelta(days=365 * 20)
SERVER_FOR = timedelta(days=90)
RENEW_BEFORE = timedelta(days=30)
_SINCE = timedelta(days=1)
"""Certificates begin earlier than they are made: a node's clock may be behind."""


@dataclass(frozen=True, kw_only=True)
class Authority:
    """`pem`: the certificate that nodes trust; `fingerprint`: SHA-256 of it, in hex."""

    pem: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class ServerCertificate:
    """`path`: the certificate and its key, in one file of mode 0600. `names`: those that it is for. `serial` tells it
    from its predecessor."""

    path: Path
    names: tuple[str, ...]
    ends: datetime
    serial: int

    def is_due(self, names: Iterable[str], now: datetime) -> bool:
        """Whether another is to be made: it ends soon, or is not for these names."""
        return now > self.ends - RENEW_BEFORE or set(names) != set(self.names)


def fingerprint(pem: str) -> str:
    """SHA-256 of a certificate, in hex. ValueError when the text holds none."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.strip() + "\n")).hexdigest()


def authority(home: Home) -> Authority:
    """The authority of this home's lab, made on first use."""
    certificate, key = home.secrets / "ca.pem", home.secrets / "ca-key.pem"
    if not (certificate.exists() and key.exists()):
        made, made_key = _self_signed(datetime.now(UTC))
        _write(key, made_key)
        _write(certificate, made)
    pem = certificate.read_text()
    return Authority(pem=pem, fingerprint=fingerprint(pem))


def server_certificate(home: Home, names: Iterable[str], now: datetime) -> ServerCertificate:
    """The certificate of the node port for these names and addresses: the one that is there while it is good, else a
    new one. The first name is its common name."""
    wanted = tuple(dict.fromkeys(names))
    path = home.secrets / "node-port.pem"
    found = _read(home, path)
    if found is None or found.is_due(wanted, now):
        _write(path, _issued(home, wanted, now))
        found = _read(home, path)
    assert found is not None
    return found


def _read(home: Home, path: Path) -> ServerCertificate | None:
    """None when it is not there, or is none of this authority."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(authority(home).pem.encode()))
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return None
    return ServerCertificate(
        path=path,
        names=tuple(str(n.value) for n in names),
        ends=found.not_valid_after_utc,
        serial=found.serial_number,
    )


def _self_signed(now: datetime) -> tuple[str, str]:
    """A certificate and its key, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = _named("homelab authority")
    usage = _usage(signs_certificates=True)
    built = (
        _begun(name, name, key.public_key(), now, CA_FOR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _signed(built, key), _key_pem(key)


def _issued(home: Home, names: tuple[str, ...], now: datetime) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    issuer = x509.load_pem_x509_certificate(authority(home).pem.encode())
    signing: Any = serialization.load_pem_private_key((home.secrets / "ca-key.pem").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
    built = (
        _begun(_named(names[0]), issuer.subject, key.public_key(), now, SERVER_FOR)
        .add_extension(alternatives, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
    )
    return _signed(built, signing) + _key_pem(key)


def _begun(subject: Any, issuer: Any, public_key: Any, now: datetime, lasting: timedelta) -> Any:
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SINCE)
        .not_valid_after(now + lasting)
    )


def _signed(built: Any, key: Any) -> str:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    return built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def _key_pem(key: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _named(name: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _usage(*, signs_certificates: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, text: str) -> None:
    """Whole or not at all, mode 0600."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
