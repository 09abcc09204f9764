"""The least permissions that a service needs on a nats-server, as a table.

A capability that comes later adds its rules to `RULES`, and `micro nats-perms` prints them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

from micro_nats.access import Access, Capability, Rule
from micro_nats.jetstream.names import Names
from micro_nats.jetstream.rules import KEPT_RULES
from micro_nats.registry.subjects import QUERY_TOPICS, WATCH_TOPICS
from micro_nats.services.names import token

__all__ = ["RULES", "Access", "Capability", "Grant", "Needs", "Rule", "as_config", "grants_for"]

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


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
        stored: Kept topics that it stores events on.
        durable: Kept topics that it reads.
        namespace: The prefix of kept topics.
        api: What the subjects of JetStream's API begin with.
    """

    capabilities: frozenset[Capability]
    inbox: tuple[str, ...] = ("_INBOX",)
    peer: tuple[str, ...] = ("_INBOX",)
    address: tuple[str, ...] = ()
    callee: tuple[str, ...] = ()
    sent: tuple[str, ...] = ()
    received: tuple[str, ...] = ()
    service: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()
    durable: tuple[str, ...] = ()
    namespace: str = ""
    api: str = "$JS.API"

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
            **self._kept(),
        }

    def _kept(self) -> Mapping[str, tuple[str, ...]]:
        names = Names(namespace=self.namespace)
        shared = (names.returns, names.later)
        return {
            "api": (self.api,),
            "namespace": (f"{self.namespace}." if self.namespace else "",),
            "stored": self.stored,
            "stored_stream": (*map(names.stream, self.stored), *shared),
            "durable_stream": (*map(names.stream, self.durable), names.returns),
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
    *KEPT_RULES,
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
    values = needs.values()
    filled = []
    for subject in subjects:
        names = list(dict.fromkeys(_PLACEHOLDER.findall(subject)))
        filled += [
            subject.format(**dict(zip(names, chosen, strict=True)))
            for chosen in product(*(values[name] for name in names))
        ]
    return filled
