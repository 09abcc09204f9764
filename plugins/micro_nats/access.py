"""What a permission on a nats-server allows, and what for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Access", "Capability", "Rule"]


class Access(StrEnum):
    """What a permission allows."""

    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"


class Capability(StrEnum):
    """What a program does, and needs permissions for."""

    CONNECT = "connect"
    SERVE = "serve"
    CALL = "call"
    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"
    STORE = "store"
    READ = "read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Subjects that a capability needs.

    Attributes:
        capability: What needs them.
        access: What it does with them.
        subjects: The subjects; `{inbox}`, `{peer}`, `{address}`, `{callee}`, `{sent}`,
            `{received}` and `{service}` stand for each value of the attribute of `Needs` that has
            this name; `{token}` stands for `service` as the NATS services protocol writes it. More
            names, for stored events, are in `Needs.values`.
        reason: What for, for the reader of the configuration.
    """

    capability: Capability
    access: Access
    subjects: tuple[str, ...]
    reason: str
