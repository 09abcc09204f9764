"""How names and versions of services are written in the NATS services protocol.

Source: NATS ADR-32. Tools ignore a service whose name or version breaks these rules.
"""

from __future__ import annotations

import re

__all__ = ["PREFIX", "QUEUE", "control_subjects", "request_subject", "token", "version"]

PREFIX = "$SRV"
QUEUE = "q"
"""The queue group of endpoints, as ADR-32 has it by default."""

_VERBS = ("PING", "INFO", "STATS")
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9\-_]")
_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z\-]+(\.[0-9A-Za-z\-]+)*)?"
    r"(\+[0-9A-Za-z\-]+(\.[0-9A-Za-z\-]+)*)?"
)


def token(name: str) -> str:
    """A name without dots and other characters that the protocol does not allow."""
    return _NOT_ALLOWED.sub("_", name)


def version(text: str) -> str:
    """A version as SemVer; one that is none, such as `latest`, becomes build metadata of 0.0.0."""
    if _SEMVER.fullmatch(text):
        return text
    return f"0.0.0+{re.sub('[^0-9A-Za-z-]', '-', text) or 'none'}"


def control_subjects(name: str, id: str) -> tuple[tuple[str, str], ...]:
    """Each subject that asks about a service or a node, with what it asks for."""
    return tuple(
        (subject, verb)
        for verb in _VERBS
        for subject in (
            f"{PREFIX}.{verb}",
            f"{PREFIX}.{verb}.{name}",
            f"{PREFIX}.{verb}.{name}.{id}",
        )
    )


def request_subject(namespace: str, service: str, endpoint: str) -> str:
    """Where a plain NATS request reaches an endpoint."""
    subject = f"svc.{service}.{endpoint}"
    return f"{namespace}.{subject}" if namespace else subject
