"""The least permissions that a service needs on a nats-server, as a table.

A capability that comes later adds its rules to `RULES`, and `micro nats-perms` prints them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from micro_nats.registry.subjects import QUERY_TOPICS, WATCH_TOPICS
from micro_nats.services.names import token

__all__ = ["RULES", "Access", "Capability", "Grant", "Needs", "Rule", "as_config", "grants_for"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Subjects that a capability needs.

    Attributes:
        capability: What needs them.
        access: What it does with them.
        subjects: The subjects; `{inbox}`, `{peer}`, `{address}`, `{callee}`, `{sent}`,
            `{received}` and `{service}` stand for each value of the attribute of `Needs` that has
            this name; `{token}` stands for `service` as the NATS services protocol writes it.
        reason: What for, for the reader of the configuration.
    """

    capability: Capability
    access: Access
    subjects: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one program does.

    Attributes:
        capabilities: The kinds of things it does.
        inbox: What its own inboxes begin with.
        peer: What the inboxes of its peers begin with.
        address: Subjects at which it is called that are not inboxes (`server_address`).
        callee: Subjects at which it calls others that are not inboxes.
        sent: Topics that it publishes.
        received: Topics that it subscribes to.
        service: The names of the services that it serves.
    """

    capabilities: frozenset[Capability]
    inbox: tuple[str, ...] = ("_INBOX",)
    peer: tuple[str, ...] = ("_INBOX",)
    address: tuple[str, ...] = ()
    callee: tuple[str, ...] = ()
    sent: tuple[str, ...] = ()
    received: tuple[str, ...] = ()
    service: tuple[str, ...] = ()

    def values(self) -> Mapping[str, tuple[str, ...]]:
        """The values for each placeholder of a rule."""
        return {
            "inbox": self.inbox,
            "peer": self.peer,
            "address": self.address,
            "callee": self.callee,
            "sent": self.sent,
            "received": self.received,
            "service": self.service,
            "token": tuple(map(token, self.service)),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One subject that is allowed, and what for."""

    access: Access
    subject: str
    reason: str


RULES: tuple[Rule, ...] = (
    Rule(
        capability=Capability.SERVE,
        access=Access.SUBSCRIBE,
        subjects=("{inbox}.>",),
        reason="requests to this node, and what comes on its sockets",
    ),
    Rule(
        capability=Capability.SERVE,
        access=Access.PUBLISH,
        subjects=("{peer}.>",),
        reason="answers to callers and to queries",
    ),
    Rule(
        capability=Capability.SERVE,
        access=Access.PUBLISH,
        subjects=WATCH_TOPICS,
        reason="announcements of this node, for both generations of go-micro",
    ),
    Rule(
        capability=Capability.SERVE,
        access=Access.SUBSCRIBE,
        subjects=QUERY_TOPICS,
        reason="queries for this service, of both generations",
    ),
    Rule(
        capability=Capability.SERVE,
        access=Access.SUBSCRIBE,
        subjects=("{address}",),
        reason="requests to the address that server_address sets",
    ),
    Rule(
        capability=Capability.SERVE,
        access=Access.PUBLISH,
        subjects=("{address}",),
        reason="a look whether that address is taken",
    ),
    Rule(
        capability=Capability.SERVE,
        access=Access.SUBSCRIBE,
        subjects=("$SRV.*", "$SRV.*.{token}", "$SRV.*.{token}.*"),
        reason="questions of the nats command about this service",
    ),
    Rule(
        capability=Capability.SERVE,
        access=Access.SUBSCRIBE,
        subjects=("svc.{service}.>",),
        reason="plain requests, such as those of the nats command",
    ),
    Rule(
        capability=Capability.CALL,
        access=Access.SUBSCRIBE,
        subjects=("{inbox}.>",),
        reason="answers to calls and to queries",
    ),
    Rule(
        capability=Capability.CALL,
        access=Access.PUBLISH,
        subjects=("{peer}.>", "{callee}"),
        reason="requests to nodes",
    ),
    Rule(
        capability=Capability.CALL,
        access=Access.PUBLISH,
        subjects=QUERY_TOPICS,
        reason="queries for other services",
    ),
    Rule(
        capability=Capability.CALL,
        access=Access.SUBSCRIBE,
        subjects=WATCH_TOPICS,
        reason="announcements of other nodes",
    ),
    Rule(
        capability=Capability.PUBLISH,
        access=Access.PUBLISH,
        subjects=("{sent}",),
        reason="events that it publishes",
    ),
    Rule(
        capability=Capability.SUBSCRIBE,
        access=Access.SUBSCRIBE,
        subjects=("{received}",),
        reason="events that it handles",
    ),
)


def grants_for(needs: Needs, rules: Iterable[Rule] = RULES) -> tuple[Grant, ...]:
    """The grants for a program, each subject once, sorted by access and subject."""
    found: dict[tuple[Access, str], list[str]] = {}
    for rule in rules:
        if rule.capability in needs.capabilities:
            for subject in _filled(rule.subjects, needs):
                found.setdefault((rule.access, subject), []).append(rule.reason)
    return tuple(
        Grant(access=access, subject=subject, reason="; ".join(dict.fromkeys(reasons)))
        for (access, subject), reasons in sorted(found.items())
    )


def as_config(grants: Iterable[Grant]) -> str:
    """Write grants as the `permissions` of a user in the configuration of a nats-server."""
    given = tuple(grants)
    lines = ["permissions: {"]
    for access in Access:
        lines += [f"  {access}: {{", "    allow: ["]
        # JSON's strings are strings of the configuration, too.
        lines += [
            f"      {json.dumps(grant.subject)}  # {grant.reason}"
            for grant in given
            if grant.access is access
        ]
        lines += ["    ]", "  }"]
    return "\n".join([*lines, "}"])


def _filled(subjects: Iterable[str], needs: Needs) -> list[str]:
    filled = []
    for subject in subjects:
        name = subject[subject.find("{") + 1 : subject.find("}")] if "{" in subject else ""
        values = needs.values()[name] if name else ("",)
        filled += [subject.replace(f"{{{name}}}", value) for value in values]
    return filled
