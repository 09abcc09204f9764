"""The handlers of one run, with what they depend on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from micro.handlers.endpoint import Endpoint
from micro.handlers.plans import RunValues
from micro.handlers.subscriber import SubscriberSpec

__all__ = ["ResolvedHandlers"]


class ResolvedHandlers:
    """The endpoints and subscribers of one run.

    Args:
        values: What lives as long as the run.
        endpoints: The service's endpoints.
        subscribers: Its subscribers.

    Attributes:
        endpoints: The endpoints, ready to be called.
        subscribers: The subscribers, ready to be called.

    Raises:
        HandlerError: overrides have made a cycle.
    """

    def __init__(
        self,
        values: RunValues,
        endpoints: Sequence[Endpoint],
        subscribers: Sequence[SubscriberSpec],
    ) -> None:
        self._values = values
        self.endpoints: tuple[Endpoint, ...] = tuple(each.resolve(values) for each in endpoints)
        self.subscribers: tuple[SubscriberSpec, ...] = tuple(
            each.resolve(values) for each in subscribers
        )

    def following_overrides(self) -> AbstractContextManager[None]:
        """Apply overrides that change while the block lasts."""
        return self._values.providers.telling(self._refresh)

    def _refresh(self) -> None:
        handlers = [each.injected for each in self.endpoints]
        handlers += [each.injected for each in self.subscribers]
        for injected in handlers:
            if injected is not None:
                injected.refresh(self._values)
