"""What a broker promises that stores events: topics that are kept, and positions on them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime

from micro.broker.contract import Broker, Delivery, Subscription
from micro.broker.kept_types import Durable, Features, Receipt, Start, Stored, TopicSpec, TopicState
from micro.concurrency.clock import Clock, RealClock
from micro.errors import Unsupported
from micro.message import Message

__all__ = ["Consumption", "DeliverKept", "KeptBroker", "KeptDelivery"]


class KeptDelivery(Delivery):
    """One stored event on its way to one consumption. It is settled once, by `ack` or `nack`."""

    __slots__ = ()

    @property
    @abstractmethod
    def stored(self) -> Stored:
        """The event, with its id, sequence, partition and time."""

    @property
    @abstractmethod
    def deliveries(self) -> int | None:
        """How often it was delivered to this durable, this time included; `None`: not counted."""

    @abstractmethod
    async def ack(self, *, confirmed: bool = False) -> None:
        """Settle it: this durable does not get it again.

        Args:
            confirmed: Return when the broker has it.

        Raises:
            DeliveryLost: it was given to another consumption; only with `confirmed`.
            ConnectionLost, DeadlineExceeded: it is unknown whether the broker has it.
        """

    @abstractmethod
    async def nack(self, delay: float = 0.0) -> None:
        """Give it back: it is delivered again, after `delay` seconds at the earliest."""

    @abstractmethod
    def extend(self) -> None:
        """Ask for another `redeliver_after` seconds. It returns at once and never raises."""


DeliverKept = Callable[[KeptDelivery], None]
"""Where a consumption's deliveries go: called on the event loop, returns at once, never raises."""


class Consumption(Subscription):
    """Reads a durable. Draining it stops the intake and hands back what was not delivered."""

    @abstractmethod
    def limit(self, unsettled: int) -> None:
        """Let at most so many deliveries be unsettled from now on; 0 pauses the intake."""


class KeptBroker(Broker):
    """A broker that stores events.

    Events of one topic have a sequence that grows. An event is stored at least once and delivered
    to each durable until it is settled: repeats are possible, losses are not, within the limits of
    the topic and what `features.survives` names.

    What is published plainly on a kept topic is stored as well; a full topic drops it silently.
    Plain subscriptions of a kept topic get its events live, those of partition `n` on
    `<topic>.p<n>`.
    """

    @property
    @abstractmethod
    def features(self) -> Features:
        """What this broker, with the server that it is connected to, can do by itself."""

    @property
    def clock(self) -> Clock:
        """The clock by which delays end; what waits for them goes by it, too."""
        return RealClock()

    @abstractmethod
    async def ensure(self, spec: TopicSpec, *, create: bool) -> TopicState:
        """Create the topic if it is absent and `create` is true; never change one that exists.

        Raises:
            Unsupported: the broker cannot keep a topic in this way.
            NotFound: it is absent, and `create` is false.
            Forbidden: the server does not allow it.
            Unavailable: the broker keeps no topics now.
        """

    @abstractmethod
    async def store(
        self,
        topic: str,
        message: Message,
        *,
        id: str,
        partition: int | None = None,
        at: datetime | None = None,
        to: str = "",
    ) -> Receipt:
        """Store an event; return when the broker holds it to the degree of `features.survives`.

        Args:
            topic: A topic that is kept.
            message: Headers and body.
            id: Stored once within the topic's `dedup` window; with `to`, once for that durable. The
                event's own id is the header `Micro-Id` where the message has it, else this.
            partition: Of a topic with partitions; an event without one is in partition 0.
            at: Deliver it at this time, not before.
            to: Only the durable of this name gets it, now or when it is created. Neither `read`
                nor plain subscribers see it.

        Raises:
            QueueFull, PayloadTooLarge, Unsupported, NotFound, Forbidden: it was not stored.
            ConnectionLost, DeadlineExceeded: it is unknown whether it was stored.
        """

    @abstractmethod
    async def consume(self, topic: str, deliver: DeliverKept, durable: Durable) -> Consumption:
        """Read a durable of a topic; create the position where it is absent.

        Consumptions of one durable share its events. An unsettled delivery is given again after
        `redeliver_after` seconds; that of a closed consumption, too. A work queue has one durable
        (beside those that are `to_only`), which starts at `"all"`.

        Raises:
            NotFound: the topic is not kept.
            Unsupported: the broker cannot do what the durable asks for.
            Forbidden, Unavailable, ConnectionLost: it cannot be read now.
        """

    @abstractmethod
    def read(
        self, topic: str, *, start: Start, end: datetime | int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Stored]]:
        """Read stored events in order, each once, without a position.

        Args:
            topic: A topic that is kept.
            start: Where to begin.
            end: The last time or sequence; with one it does not wait for events that are not stored
                yet. `None` reads on as events are stored.

        Raises:
            NotFound: the topic is not kept; raised on entering.
        """

    @abstractmethod
    async def describe(self, topic: str) -> TopicState:
        """The topic and its positions, as they are now.

        Raises:
            NotFound: the topic is not kept.
        """

    @abstractmethod
    async def forget(self, topic: str, durable: str) -> None:
        """Remove a position, and what was stored for it alone; a later `consume` creates it anew.

        Raises:
            NotFound: there is no such position.
        """

    async def remove(self, topic: str, sequence: int) -> None:
        """Remove one stored event: no one can read it, and no durable gets it any more.

        A broker that can do it overrides this.

        Raises:
            NotFound: there is no such event, or the topic is not kept.
            Unsupported: the broker cannot remove single events; nothing was removed.
        """
        raise Unsupported(f"this broker cannot remove event {sequence} of {topic!r}")

    async def change(self, spec: TopicSpec) -> TopicState:
        """Keep a topic that exists in another way. Smaller limits can remove events.

        A broker that can do it overrides this.

        Raises:
            Unsupported: the broker cannot change it, or not in this way; nothing was changed.
            NotFound: the topic is not kept.
            Forbidden: the server does not allow it.
        """
        raise Unsupported(f"this broker cannot change how {spec.name!r} is kept")

    async def pause(self, topic: str, durable: str, until: datetime | None) -> None:
        """Deliver nothing to a durable until a time; `None` resumes it.

        Its consumptions stay, and deliveries that run can be settled. A broker that can do it
        overrides this.

        Raises:
            Unsupported: the broker cannot pause a durable.
            NotFound: there is no such topic or position.
        """
        del until
        raise Unsupported(f"this broker cannot pause {durable!r} of {topic!r}")

    async def reset(self, topic: str, durable: str, start: Start) -> None:
        """Move a position, as if it had been created with this start.

        What was settled from there on comes again, and what was not settled before is skipped.
        Its consumptions stay. A broker that can do it overrides this.

        Raises:
            Unsupported: the broker cannot move a position.
            NotFound: there is no such topic or position.
        """
        del start
        raise Unsupported(f"this broker cannot move {durable!r} of {topic!r}")
