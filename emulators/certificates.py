"""A throw-away certificate authority and a server certificate for loopback, as PEM files."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=1)  # long enough for any run; short, so that a leaked key is worth nothing


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths of PEM files. `ca` is what a client trusts (`SSL_CERT_FILE`), the other two are the server's."""

    ca: Path
    certificate: Path
    key: Path


def write_certificates(folder: Path, now: datetime | None = None) -> Certificates:
    """Makes a new authority and a certificate for localhost, 127.0.0.1 and ::1 in `folder`."""
    start = (now or datetime.now(UTC)) - timedelta(minutes=5)  # clocks differ a little
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _authority(ca_key, start)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _server(key, ca, ca_key, start)
    paths = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server-key.pem")
    folder.mkdir(parents=True, exist_ok=True)
    paths.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    paths.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths.key.touch(mode=0o600)
    paths.key.write_bytes(_pem(key))
    return paths


def _authority(key: ec.EllipticCurvePrivateKey, start: datetime) -> x509.Certificate:
    name = _name("Loopback emulators CA")
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        _builder(name, name, key, start)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )


def _server(
    key: ec.EllipticCurvePrivateKey, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey, start: datetime
) -> x509.Certificate:
    # Python 3.13 checks strictly (RFC 5280): key usage and both key identifiers must be there.
    hosts = [x509.DNSName("localhost")]
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    return (
        _builder(_name("localhost"), ca.subject, key, start)
        .add_extension(x509.SubjectAlternativeName([*hosts, *addresses]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=start,
        not_valid_after=start + LIFETIME,
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
