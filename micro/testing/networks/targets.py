"""What the names mean that a test gives to faults and records: endpoints, services and topics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from micro.errors import UsageError
from micro.names import check_pattern
from micro.service import Service
from micro.settings.hints import nearest
from micro.topic import Topic

__all__ = ["Target", "find_endpoint", "read_target"]

Target = str | Topic[Any] | Service
"""An endpoint, a topic, or a service."""


class Serving(Protocol):
    """What serves endpoints."""

    @property
    def service(self) -> str: ...

    @property
    def endpoints(self) -> frozenset[str]: ...


def find_endpoint(name: str, serving: Iterable[Serving]) -> tuple[str, str]:
    """The service and the endpoint that a name means; the endpoint is empty for a whole service.

    Raises:
        UsageError: there is no such service or endpoint.
    """
    known = _known(serving)
    if name not in known:
        raise UsageError(_unknown(name, known))
    return known[name]


def read_target(target: Target, serving: Iterable[Serving], *, at: str) -> str:
    """The name of an endpoint, a service or a topic that a fault is for.

    Args:
        target: What the test gave.
        serving: What runs.
        at: The service in whose subscribers the fault is to happen; then it is a topic.

    Raises:
        UsageError: it looks like an endpoint, and there is none of this name.
        InvalidName: the topic cannot be used.
    """
    if isinstance(target, Topic):
        return target.name
    if not isinstance(target, str | Service):
        raise UsageError(f"fault() takes a topic, an endpoint or a service, got {target!r}")
    known = _known(serving)
    name = target if isinstance(target, str) else target.name
    services = {service for service, _ in known.values()}
    if at and at not in services:
        raise UsageError(_unknown(at, known))
    if at or name in known:
        return check_pattern(name)
    if isinstance(target, Service) or _is_endpoint(name, services):
        raise UsageError(_unknown(name, known))
    return check_pattern(name)


def _known(serving: Iterable[Serving]) -> dict[str, tuple[str, str]]:
    known: dict[str, tuple[str, str]] = {}
    for each in serving:
        known[each.service] = (each.service, "")
        known.update((f"{each.service}.{name}", (each.service, name)) for name in each.endpoints)
    return known


def _is_endpoint(name: str, services: set[str]) -> bool:
    """Whether a name looks like an endpoint's rather than a topic's."""
    *_, first, last = ["", "", *name.split(".")]
    return (first[:1].isupper() and last[:1].isupper()) or any(
        name.startswith(f"{service}.") and name.count(".") == service.count(".") + 2
        for service in services
    )


def _unknown(name: str, known: Iterable[str]) -> str:
    if hint := nearest(name, known):
        return f"no service here has {name!r}; did you mean {hint!r}?"
    return f"no service here has {name!r}: start its service first (known: {', '.join(known)})"
