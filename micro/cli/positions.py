"""Which positions of kept topics the code still uses."""

from __future__ import annotations

from collections.abc import Iterable

from micro.handlers.durable import DurableSpec, durable_name
from micro.service import Service, define

__all__ = ["UsedPositions"]


class UsedPositions:
    """The positions of some services.

    Args:
        services: Those whose code is at hand; what belongs to others is not judged.
    """

    def __init__(self, services: Iterable[Service]) -> None:
        self._services: list[str] = []
        self._used: set[tuple[str, str]] = set()
        self._of_instances: list[tuple[str, str]] = []
        for service in services:
            definition = define(service)
            self._services.append(durable_name(definition.name))
            for spec, _ in definition.subscribers:
                if spec.durable is not None:
                    self._add(definition.name, spec.durable)

    def is_unused(self, topic: str, durable: str) -> bool:
        """Whether one of the services had this position, and has it no more."""
        ours = any(
            durable == service or durable.startswith(f"{service}_") for service in self._services
        )
        instance = any(
            topic == each and durable.startswith(prefix) for each, prefix in self._of_instances
        )
        return ours and not instance and (topic, durable) not in self._used

    def _add(self, service: str, durable: DurableSpec) -> None:
        name = durable_name(service, durable.name)
        if durable.each_instance:
            self._of_instances.append((durable.topic.name, f"{name}_"))
        else:
            self._used.add((durable.topic.name, name))
