"""Keys, tokens and certificates for servers and their clients."""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import json
import time
from dataclasses import dataclass
from pathlib import Path

import nkeys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["Authority", "Operator", "issue", "user_key"]


def user_key(number: int) -> tuple[str, str]:
    """A user's seed and public key; the same ones for the same number."""
    pair = _pair(nkeys.PREFIX_BYTE_USER, number)
    return bytes(pair.seed).decode(), pair.public_key.decode()


class Operator:
    """An operator with one account.

    Attributes:
        config: The part of a server's configuration that trusts them.
    """

    def __init__(self) -> None:
        operator = _pair(nkeys.PREFIX_BYTE_OPERATOR, 1)
        self._account = _pair(nkeys.PREFIX_BYTE_ACCOUNT, 2)
        kinds = ("subs", "conn", "leaf", "imports", "exports", "data", "payload")
        limits = {**dict.fromkeys(kinds, -1), "wildcards": True}
        own = _token(operator, operator, {"type": "operator"})
        account = _token(operator, self._account, {"type": "account", "limits": limits})
        public = self._account.public_key.decode()
        self.config = (
            f"operator: {own}\nresolver: MEMORY\nresolver_preload: {{ {public}: {account} }}\n"
        )

    def credentials(self, seconds: float) -> tuple[str, str]:
        """The text of a credentials file that is valid for `seconds`, and the seed in it."""
        user = _pair(nkeys.PREFIX_BYTE_USER, 3)
        rights: dict[str, object] = {"type": "user", "subs": -1, "data": -1, "payload": -1}
        token = _token(self._account, user, rights, until=time.time() + seconds)
        seed = bytes(user.seed).decode()
        text = (
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
        return text, seed


def _pair(kind: int, number: int) -> nkeys.KeyPair:
    return nkeys.from_seed(
        bytearray(nkeys.encode_seed(hashlib.sha256(b"%d" % number).digest(), kind))
    )


def _token(
    issuer: nkeys.KeyPair, subject: nkeys.KeyPair, claims: dict[str, object], *, until: float = 0
) -> str:
    body: dict[str, object] = {
        "iat": int(time.time()) - 60,
        "iss": issuer.public_key.decode(),
        "sub": subject.public_key.decode(),
        "name": str(claims["type"]),
        "nats": {**claims, "version": 2},
        **({"exp": int(until)} if until else {}),
    }
    digest = hashlib.new("sha512_256", json.dumps(body).encode()).digest()
    body["jti"] = base64.b32encode(digest).decode().rstrip("=")
    head = _part(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
    signed = f"{head}.{_part(json.dumps(body).encode())}"
    return f"{signed}.{_part(issuer.sign(signed.encode()))}"


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Authority:
    """The name and key that sign certificates."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey


def issue(
    folder: Path,
    name: str,
    authority: Authority | None,
    *,
    days: int = 2,
    host: str = "127.0.0.1",
) -> Authority:
    """Write a certificate and its key as `<name>.pem` and `<name>.key`.

    It has the extensions that Python 3.13 asks for by default (RFC 5280).

    Args:
        folder: Where the files go.
        name: The common name, and the files' name.
        authority: Who signs it; `None` makes a certificate that signs itself and others.
        days: How long it is valid from now on; its validity began five days ago.
        host: The IP address of its machine.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = authority or Authority(subject, key)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=5))
        .not_valid_after(now + datetime.timedelta(days=days))
    )
    for extension, critical in _extensions(key, signer.key, host, signs=authority is None):
        builder = builder.add_extension(extension, critical)
    certificate = builder.sign(signer.key, hashes.SHA256())
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return Authority(subject, key)


def _extensions(
    own: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey, host: str, *, signs: bool
) -> list[tuple[x509.ExtensionType, bool]]:
    """The extensions, and whether a reader must understand each."""
    unused = ("content_commitment", "data_encipherment", "key_agreement", "key_encipherment")
    usage = dict.fromkeys((*unused, "encipher_only", "decipher_only"), False)
    usage |= {"digital_signature": True, "key_cert_sign": signs, "crl_sign": signs}
    return [
        (x509.BasicConstraints(ca=signs, path_length=None), True),
        (x509.KeyUsage(**usage), True),
        (x509.SubjectKeyIdentifier.from_public_key(own.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
        (x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), False),
    ]
