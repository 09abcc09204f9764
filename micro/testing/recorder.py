"""Receivers and delivery targets that keep what they get, and waits for it that end.

Each wait has a bound and fails with what was there, so a test never sleeps and never hangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from micro.broker.contract import Delivery
from micro.broker.kept import KeptDelivery
from micro.errors import MicroError, TransportError
from micro.message import Message
from micro.transport.contract import Receiver, Socket

__all__ = ["Arrivals", "Echo", "KeptMailbox", "Mailbox", "Recorder", "Signal"]

_BOUND = 10.0


class Signal:
    """Wakes every task that waits for a condition to become true."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Something changed: those who wait look again."""
        self._event.set()

    async def until(
        self, done: Callable[[], bool], describe: Callable[[], str], timeout: float = _BOUND
    ) -> None:
        """Wait until `done` is true.

        Raises:
            AssertionError: it was not, for `timeout` seconds; with the text of `describe`.
        """
        try:
            async with asyncio.timeout(timeout) as timer:
                while not done():
                    self._event.clear()
                    await self._event.wait()
        except TimeoutError:
            if not timer.expired():
                raise
            raise AssertionError(f"waited {timeout} s: {describe()}") from None


class Recorder(Receiver):
    """A Receiver that keeps everything, and notices what must not happen.

    Attributes:
        messages: What was received, in order.
        bundles: How many messages came with each call of `received`.
        closings: Each error that `closed` was called with; a good transport gives one.
        late: What was received after `closed`; a good transport gives nothing.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.bundles: list[int] = []
        self.closings: list[TransportError] = []
        self.late: list[Message] = []
        self._signal = Signal()

    @property
    def bodies(self) -> list[bytes]:
        """The bodies of the messages, in order."""
        return [message.body for message in self.messages]

    def received(self, messages: Sequence[Message]) -> None:
        """Keep them; see `Receiver.received`."""
        (self.late if self.closings else self.messages).extend(messages)
        self.bundles.append(len(messages))
        self._signal.set()

    def closed(self, error: TransportError) -> None:
        """Keep it; see `Receiver.closed`."""
        self.closings.append(error)
        self._signal.set()

    async def wait_for(self, count: int, timeout: float = _BOUND) -> list[Message]:
        """Wait until at least `count` messages are here; returns them all."""
        await self._signal.until(
            lambda: len(self.messages) >= count,
            lambda: f"{len(self.messages)} of {count} messages, closed: {self.closings}",
            timeout,
        )
        return self.messages

    async def wait_closed(self, timeout: float = _BOUND) -> TransportError:
        """Wait until the socket is closed; returns the error it was closed with."""
        await self._signal.until(
            lambda: bool(self.closings),
            lambda: f"not closed, after {len(self.messages)} messages",
            timeout,
        )
        return self.closings[0]


class Echo(Recorder):
    """Sends every message back to where it came from."""

    def __init__(self, socket: Socket) -> None:
        super().__init__()
        self._socket = socket

    def received(self, messages: Sequence[Message]) -> None:
        """Keep them and send them back; a socket that cannot send gives up silently."""
        super().received(messages)
        for message in messages:
            try:
                self._socket.send(message)
            except MicroError:
                return


class Arrivals:
    """What a listener calls for each new socket: keeps them, with a Recorder for each.

    Args:
        make: Makes the Receiver of a socket; a plain Recorder when not given.
    """

    def __init__(self, make: Callable[[Socket], Recorder] | None = None) -> None:
        self.sockets: list[Socket] = []
        self.recorders: list[Recorder] = []
        self._make = make or (lambda _: Recorder())
        self._signal = Signal()

    def __call__(self, socket: Socket) -> Receiver:
        """Keep a socket and give it a Receiver; this is what `listen` is given."""
        recorder = self._make(socket)
        self.sockets.append(socket)
        self.recorders.append(recorder)
        self._signal.set()
        return recorder

    async def wait_for(self, count: int, timeout: float = _BOUND) -> list[Socket]:
        """Wait until at least `count` sockets are here; returns them all."""
        await self._signal.until(
            lambda: len(self.sockets) >= count,
            lambda: f"{len(self.sockets)} of {count} sockets",
            timeout,
        )
        return self.sockets


class Mailbox:
    """Where a subscription delivers: an instance is a `Deliver`, and keeps what comes."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self._signal = Signal()

    def __call__(self, delivery: Delivery) -> None:
        """Keep a delivery; this is what `subscribe` is given."""
        self.deliveries.append(delivery)
        self._signal.set()

    def __len__(self) -> int:
        return len(self.deliveries)

    @property
    def bodies(self) -> list[bytes]:
        """The bodies of the messages, in order."""
        return [delivery.message.body for delivery in self.deliveries]

    @property
    def topics(self) -> list[str]:
        """The topics the messages came on, in order."""
        return [delivery.topic for delivery in self.deliveries]

    async def wait_for(self, count: int, timeout: float = _BOUND) -> list[Delivery]:
        """Wait until at least `count` deliveries are here; returns them all."""
        await self._signal.until(
            lambda: len(self.deliveries) >= count,
            lambda: f"{len(self.deliveries)} of {count} deliveries",
            timeout,
        )
        return self.deliveries


class KeptMailbox:
    """Where a consumption delivers: an instance is a `DeliverKept`, and keeps what comes."""

    def __init__(self) -> None:
        self.deliveries: list[KeptDelivery] = []
        self._signal = Signal()
        self._acked = 0

    def __call__(self, delivery: KeptDelivery) -> None:
        """Keep a delivery; this is what `consume` is given."""
        self.deliveries.append(delivery)
        self._signal.set()

    def __len__(self) -> int:
        return len(self.deliveries)

    @property
    def bodies(self) -> list[bytes]:
        """The bodies of the events, in the order in which they came."""
        return [delivery.message.body for delivery in self.deliveries]

    async def wait_for(self, count: int, timeout: float = _BOUND) -> list[KeptDelivery]:
        """Wait until at least `count` deliveries are here; returns them all."""
        await self._signal.until(
            lambda: len(self.deliveries) >= count,
            lambda: f"{len(self.deliveries)} of {count} deliveries",
            timeout,
        )
        return self.deliveries

    async def ack(self, count: int) -> list[KeptDelivery]:
        """Acknowledge each delivery, confirmed, as it comes, until it were so many in all."""
        while self._acked < count:
            await self.wait_for(self._acked + 1)
            self._acked += 1
            await self.deliveries[self._acked - 1].ack(confirmed=True)
        return self.deliveries
