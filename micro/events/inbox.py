"""What an inbox promises: the effect of an event is applied once, however often it is delivered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager

__all__ = ["Inbox"]


class Inbox(ABC):
    """Remembers which events a durable has applied.

    A durable subscriber names it: `@service.subscriber(created, durable=True, once=inbox)`. The
    engine claims each event before the handler, leaves the block after it, and acknowledges the
    event then. An event that was applied before is acknowledged without a call of the handler.
    """

    @abstractmethod
    def claim(self, durable: str, id: str) -> AbstractAsyncContextManager[bool]:
        """Claim an event for one durable while the block lasts.

        Entering waits while another delivery of the same event has the claim, in this process or
        another one. It yields whether the event is new: false says that its effect stands already.

        Leaving the block in the ordinary way commits the mark, together with the effect where both
        are in one transaction. An error or a cancellation rolls both back, and the event is new to
        the next claim. The same holds when the process dies inside the block.

        The block runs in the task that entered it. What commits the mark may raise; then neither
        mark nor effect stands, or it is unknown whether both do, and the event has to be delivered
        again.

        Args:
            durable: The position that the event was delivered to: `<service>_<name>`.
            id: The event's id.

        Raises:
            Unavailable: what keeps the marks cannot be reached; the claim was not made.
        """

    @abstractmethod
    def opened(self) -> AbstractAsyncContextManager[None]:
        """Check that claims can be made, and hold what they need while the block lasts.

        Each run of a service that names the inbox is inside such a block; claims of other programs
        need none.

        Raises:
            Unavailable: what keeps the marks cannot be reached.
            ConfigError: it is not set up, or is of another version.
        """
