"""Certificate of the server, and the authority that signed it.

The authority signs this one certificate and its key is discarded, so no stored key can sign another
one. A renewal creates a new authority; clients trust the previous one too, until every replica uses
the new certificate.
"""

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = datetime.timedelta(days=90)
# Remaining lifetime at which it is renewed: a third of it is left for retries.
RENEWED = datetime.timedelta(days=30)
# Tolerance for clock skew.
BACKDATED = datetime.timedelta(minutes=5)


@dataclass(frozen=True)
class Certificate:
    """Certificate of the server with its key and authorities.

    Attributes:
        authorities: Authorities that clients trust, PEM, the newest first.
        chain: Certificate of the server, PEM.
        key: Private key of the server, PEM.
    """

    authorities: bytes
    chain: bytes
    key: bytes

    def issued(self) -> datetime.datetime:
        """Return the time at which the certificate was issued."""
        return self._parsed().not_valid_before_utc + BACKDATED

    def follows(self, other: "Certificate") -> bool:
        """Return whether clients that trust this one's authorities trust the other one too."""
        return _newest(other.authorities) in self.authorities

    def serves(self, host: str, now: datetime.datetime) -> bool:
        """Return whether it is valid, has this host name, and is not due for renewal."""
        try:
            parsed = self._parsed()
            key = serialization.load_pem_private_key(self.key, None)
            x509.load_pem_x509_certificates(self.authorities)
            names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except (ValueError, TypeError, x509.ExtensionNotFound):
            return False
        return (
            key.public_key() == parsed.public_key()
            and host in names.value.get_values_for_type(x509.DNSName)
            and parsed.not_valid_before_utc <= now < parsed.not_valid_after_utc - RENEWED
        )

    def _parsed(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.chain)


def make(host: str, now: datetime.datetime, before: Certificate | None = None) -> Certificate:
    """Create a certificate for a host name, signed by a new authority."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = _name(f"{host} authority {now:%Y-%m-%dT%H:%M:%SZ}")
    authority = (
        _builder(authority_name, authority_name, authority_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    signed_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    certificate = (
        # A common name has at most 64 characters; clients verify the alternative name.
        _builder(_name(host[:64]), authority_name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(signed_by, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return Certificate(
        authorities=_pem(authority) + (_newest(before.authorities) if before else b""),
        chain=_pem(certificate),
        key=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _newest(authorities: bytes) -> bytes:
    """Return the first of several certificates, empty if they can't be parsed."""
    try:
        return _pem(x509.load_pem_x509_certificates(authorities)[0])
    except ValueError:
        return b""


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[-64:])])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
