"""What a broker promises: events by topic, to all subscriptions and to one of each queue group."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from micro.errors import Unimplemented
from micro.message import Message
from micro.scope import Resource

__all__ = ["Broker", "Deliver", "Delivery", "PlainDelivery", "Subscription"]


class Delivery(ABC):
    """One message on its way to one subscription."""

    __slots__ = ()

    @property
    @abstractmethod
    def topic(self) -> str:
        """The topic it was published on, never a pattern."""

    @property
    @abstractmethod
    def message(self) -> Message:
        """The message itself."""

    @abstractmethod
    async def ack(self) -> None:
        """Acknowledge that it was handled. A broker without acknowledgements does nothing."""

    @abstractmethod
    async def nack(self) -> None:
        """Report that it was not handled. A broker without redelivery does nothing."""


class PlainDelivery(Delivery):
    """A delivery of a broker without acknowledgements: `ack` and `nack` do nothing.

    Args:
        topic: The topic it was published on.
        message: The message.
    """

    __slots__ = ("_message", "_topic")

    def __init__(self, topic: str, message: Message) -> None:
        self._topic = topic
        self._message = message

    @property
    def topic(self) -> str:
        """The topic it was published on."""
        return self._topic

    @property
    def message(self) -> Message:
        """The message itself."""
        return self._message

    async def ack(self) -> None:
        """Do nothing: the broker keeps no record of deliveries."""

    async def nack(self) -> None:
        """Do nothing: the broker does not deliver again."""


Deliver = Callable[[Delivery], None]
"""Where a subscription's deliveries go: called on the event loop, returns at once, never raises."""


class Subscription(Resource):
    """One subscription. Leaving it as a context manager closes it."""

    @abstractmethod
    async def drain(self) -> None:
        """Stop the intake; return when every message that was routed here has been delivered."""

    @abstractmethod
    async def aclose(self) -> None:
        """End the subscription at once; a second call does nothing."""


class Broker(ABC):
    """Publishes and subscribes.

    Topics are dot-separated tokens. In a subscription `*` stands for one token and a last `>` for
    one or more, as in NATS. One publisher's messages on one topic keep their order.
    """

    @abstractmethod
    async def publish(self, topic: str, message: Message) -> None:
        """Hand a message to the broker.

        Returns when the message is on its way, not when it was handled; `flush` waits until the
        server has it. Waits, up to a bound, while the connection is being restored.

        Raises:
            InvalidName: the topic is empty, has wildcards, blanks or control characters.
            ConnectionLost: there was no connection within the bound; it was not sent.
            PayloadTooLarge: the message cannot fit.
        """

    async def publish_confirmed(self, topic: str, message: Message) -> None:
        """Publish, and return when at least one subscription will receive the message.

        It says nothing about what the subscriber does with it. A broker that can tell overrides it.

        Raises:
            NoSubscribers: no one is subscribed; the message reached no one.
            Unimplemented: the broker cannot tell; nothing was sent.
            InvalidName, ConnectionLost, PayloadTooLarge: see `publish`.
        """
        del message
        raise Unimplemented(f"this broker cannot tell whether {topic!r} has subscribers")

    @abstractmethod
    async def subscribe(
        self, topic: str, deliver: Deliver, *, queue: str | None = None
    ) -> Subscription:
        """Subscribe; on return the broker routes messages here.

        Args:
            topic: A topic or a pattern.
            deliver: Where each delivery goes.
            queue: Of all subscriptions with this queue name each message reaches one; `None`
                receives every message.

        Raises:
            InvalidName: the topic or the queue cannot be used.
            ConnectionLost: there is no connection.
            Forbidden: the server does not allow it.
        """

    @abstractmethod
    async def flush(self) -> None:
        """Wait until the server has received all that was published before.

        Raises:
            ConnectionLost: the connection broke, so that some of it may be lost.
        """
