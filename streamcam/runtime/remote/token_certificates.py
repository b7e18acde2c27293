"""Certificates that follow from a token: whoever knows it can tell the server from an impostor.

The authority's key is derived from the token, so that both sides know it and nobody else does.
The server's certificate is signed by it, and checked by the client as any other in TLS.
"""

import datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.x509.oid import NameOID

SERVER_NAME = "streamcam"
SALT = b"streamcam remote engine 1"
CURVE = ec.SECP256R1()
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the curve: private keys are below it."""
FIRST_DAY = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
LAST_DAY = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)
"""Clocks of machines on a stage may be wrong by years."""
AUTHORITY = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "streamcam token")])


class ServerIdentity(NamedTuple):
    """The certificate of a server and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def authority_pem(token: str) -> bytes:
    """Return the certificate that signs those of servers with this token, as PEM."""
    key = _authority_key(token)
    certificate = (
        _builder(AUTHORITY, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def server_identity(token: str) -> ServerIdentity:
    """Return a new certificate for a server with this token."""
    key = ec.generate_private_key(CURVE)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SERVER_NAME)])
    certificate = (
        _builder(name, key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)]), critical=False)
        .sign(_authority_key(token), hashes.SHA256())
    )
    return ServerIdentity(certificate, key)


def _authority_key(token: str) -> ec.EllipticCurvePrivateKey:
    # Slow on purpose: what is seen of a connection allows guesses of the token.
    stretched = Scrypt(salt=SALT, length=48, n=2**14, r=8, p=1).derive(token.encode())
    return ec.derive_private_key(int.from_bytes(stretched, "big") % (ORDER - 1) + 1, CURVE)


def _builder(name: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(AUTHORITY)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(FIRST_DAY)
        .not_valid_after(LAST_DAY)
    )
