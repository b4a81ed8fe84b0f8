"""A certificate for the server, and the authority that has signed it.

The authority signs this one certificate and its key is thrown away, so nothing that is kept could
sign another one. A renewal makes a new authority; clients trust the one before too, until every
replica has changed over.
"""

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = datetime.timedelta(days=90)
# A third of its life is left for a renewal to succeed.
RENEWED = datetime.timedelta(days=30)
# Clocks differ by moments.
BACKDATED = datetime.timedelta(minutes=5)


@dataclass(frozen=True)
class Certificate:
    """What a server needs to be trusted.

    Attributes:
        authorities: Whom clients are to trust, PEM, the newest first.
        chain: The server's certificate, PEM.
        key: Its private key, PEM.
    """

    authorities: bytes
    chain: bytes
    key: bytes

    def issued(self) -> datetime.datetime:
        """When it was made."""
        return self._parsed().not_valid_before_utc + BACKDATED

    def follows(self, other: "Certificate") -> bool:
        """Whether who trusts this one's authorities trusts the other certificate too."""
        return _newest(other.authorities) in self.authorities

    def serves(self, host: str, now: datetime.datetime) -> bool:
        """Whether it is whole, of this host name, and not to be renewed yet."""
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
    """A new certificate for a host name, signed by a new authority."""
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
        # A common name has at most 64 characters; what counts is the alternative name.
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
    """The first of some certificates; none where they can't be read."""
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
