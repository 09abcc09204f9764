"""One delivery of a stored event, and how it is settled."""

from __future__ import annotations

import json
import logging
import time
from abc import ABC, abstractmethod

from micro.broker.kept import KeptDelivery
from micro.broker.kept_types import Stored
from micro.errors import DeadlineExceeded, DeliveryLost, MicroError, NoResponders
from micro.message import Message
from micro_nats.connection.connection import Connection
from micro_nats.connection.requests import Requests
from micro_nats.jetstream.messages import AckSubject, read_stored
from micro_nats.jetstream.streams import nanoseconds

__all__ = ["Arrival", "NatsKeptDelivery", "Owner"]

log = logging.getLogger("micro.nats")

_CONFIRM_SECONDS = 1.0
_CONFIRM_TRIES = 5
"""A server that has just started may not know the consumer yet, and lose an acknowledgement. One
that comes twice does no harm."""
# The server began to count before the delivery arrived here.
_LEASE_SHARE = 0.9


class Owner(ABC):
    """What a delivery needs of its consumption.

    Attributes:
        connection: Where settlements are sent.
        requests: Where confirmed ones are sent.
        redeliver_after: Seconds after which the server gives it to another.
    """

    connection: Connection
    requests: Requests
    redeliver_after: float

    @abstractmethod
    def release(self) -> None:
        """Note that one delivery is settled."""


class Arrival:
    """An event as it came, before anything of it is read.

    Args:
        topic: The topic.
        partition: Its partition.
        reply: Where settlements go.
        place: What the reply subject tells.
        headers: The NATS headers.
        body: The bytes.
    """

    __slots__ = ("body", "headers", "partition", "place", "reply", "topic")

    def __init__(
        self,
        topic: str,
        partition: int | None,
        *,
        reply: str,
        place: AckSubject,
        headers: dict[str, str] | None,
        body: bytes,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.reply = reply
        self.place = place
        self.headers = headers
        self.body = body


class NatsKeptDelivery(KeptDelivery):
    """A delivery to one consumption.

    Args:
        owner: The consumption.
        arrival: The event.
    """

    __slots__ = ("_arrival", "_leased_at", "_owner", "_settled", "_stored")

    def __init__(self, owner: Owner, arrival: Arrival) -> None:
        self._owner = owner
        self._arrival = arrival
        self._leased_at = time.monotonic()
        self._settled = False
        self._stored: Stored | None = None

    @property
    def topic(self) -> str:
        """The topic it was stored on."""
        return self._arrival.topic

    @property
    def message(self) -> Message:
        """Headers and body."""
        return self.stored.message

    @property
    def stored(self) -> Stored:
        """The event; see `KeptDelivery.stored`."""
        if self._stored is None:
            arrival = self._arrival
            self._stored = read_stored(
                arrival.topic, arrival.headers, arrival.body, arrival.place, arrival.partition
            )
        return self._stored

    @property
    def deliveries(self) -> int | None:
        """How often the server delivered it, this time included."""
        return self._arrival.place.deliveries

    async def ack(self, *, confirmed: bool = False) -> None:
        """Settle it; see `KeptDelivery.ack`."""
        if self._settled:
            return
        if confirmed:
            await self._confirm()
        else:
            await self._settle(b"+ACK")

    async def nack(self, delay: float = 0.0) -> None:
        """Give it back; see `KeptDelivery.nack`."""
        if not self._settled:
            await self._settle(_nack(delay))

    def extend(self) -> None:
        """Keep it for longer; see `KeptDelivery.extend`."""
        if not self._settled and self._send(b"+WPI"):
            self._leased_at = time.monotonic()

    def hand_back(self) -> None:
        """Give it back at once, as far as there is a connection."""
        if not self._settled:
            self._settled = True
            self._send(_nack(0.0))

    async def _settle(self, payload: bytes) -> None:
        self._settled = True
        self._owner.release()
        await self._wait_connected()
        self._owner.connection.publish_now(self._arrival.reply, "", payload)

    async def _wait_connected(self) -> None:
        """Wait for a connection: a new one serves as well, else the event would come again."""
        connection = self._owner.connection
        if not connection.connected:
            await connection.wait_connected(connection.connect_timeout)

    async def _confirm(self) -> None:
        self._settled = True
        try:
            # The server accepts an acknowledgement from a consumption that has lost the delivery.
            if time.monotonic() - self._leased_at > _LEASE_SHARE * self._owner.redeliver_after:
                raise self._lost("its time was over")
            await self._ask_to_settle()
        except NoResponders as error:
            raise self._lost("its position was removed, or has no leader now") from error
        finally:
            self._owner.release()

    async def _ask_to_settle(self) -> None:
        for left in reversed(range(_CONFIRM_TRIES)):
            await self._wait_connected()
            try:
                await self._owner.requests.request(
                    self._arrival.reply, b"+ACK", timeout=_CONFIRM_SECONDS
                )
            except DeadlineExceeded:
                if not left:
                    raise
            else:
                return

    def _lost(self, reason: str) -> DeliveryLost:
        place = f"event {self._arrival.place.sequence} of {self._arrival.topic!r}"
        return DeliveryLost(f"{place}: {reason}, and it may have been given to another consumption")

    def _send(self, payload: bytes) -> bool:
        try:
            self._owner.connection.publish_now(self._arrival.reply, "", payload)
        except MicroError as error:
            log.debug("%r was not sent: %s", payload, error)
            return False
        return True


def _nack(delay: float) -> bytes:
    if delay <= 0:
        return b"-NAK"
    return b"-NAK " + json.dumps({"delay": nanoseconds(delay)}).encode()
