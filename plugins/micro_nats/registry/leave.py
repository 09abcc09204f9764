"""Proof that a `delete` comes from the process that announced the nodes.

Any user who may announce nodes can also announce that another's nodes leave. So a registration
draws a secret and sends its hash in a NATS header with each announcement and answer; the header of
its `delete` carries the secret. Watchers compare them and need not ask. Payloads stay go-micro's.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

__all__ = ["claim", "claim_headers", "proof_headers", "proves"]

_CLAIM = "Micro-Leave-Hash"
_PROOF = "Micro-Leave-Secret"


def claim_headers(secret: str) -> bytes:
    """The headers of an announcement or an answer."""
    return _block(_CLAIM, _hash(secret))


def proof_headers(secret: str) -> bytes:
    """The headers of a `delete`."""
    return _block(_PROOF, secret)


def claim(headers: Mapping[str, str] | None) -> str:
    """What an announcement claims; empty when its sender makes no claim (go-micro, old peers)."""
    return headers.get(_CLAIM, "") if headers else ""


def proves(headers: Mapping[str, str] | None, claimed: str) -> bool:
    """Whether the headers of a `delete` prove that its sender made the claim."""
    secret = headers.get(_PROOF, "") if headers else ""
    return bool(secret) and _hash(secret) == claimed


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def _block(name: str, value: str) -> bytes:
    return f"NATS/1.0\r\n{name}: {value}\r\n\r\n".encode()
