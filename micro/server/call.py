"""One request on its way through the server, the endpoint it is for, and where its answer goes."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from micro.codec.contract import Decoder, Encoder
from micro.concurrency.budget import ByteBudget
from micro.concurrency.limiter import MESSAGE_OVERHEAD_BYTES, Limiter
from micro.concurrency.pacer import Lane
from micro.concurrency.work import Meter
from micro.deadline import Deadline
from micro.errors import MicroError
from micro.handlers.endpoint import Endpoint
from micro.message import Message
from micro.middleware import Next
from micro.telemetry.durations import Durations
from micro.wire.flow import ReceiveWindow, SendCredit
from micro.wire.headers import ID, STREAM

__all__ = ["MAX_STREAM_WAIT_SECONDS", "Call", "Mounted", "Replies", "Requests", "weight_of"]


MAX_STREAM_WAIT_SECONDS = 1.0
"""A stream has no deadline, as a rule: its client learns this soon that there is no place."""


class Replies(ABC):
    """Where the answers of calls go: one client's socket, in the client's dialect.

    Attributes:
        calls: The calls on the socket that run or wait, by id: later frames go to them.
        remote: The client's address.
        delay: Seconds that what is received now may have waited on its way, at most.
        in_process: See `Socket.in_process`.
    """

    __slots__ = ()

    calls: dict[str, Call]
    remote: str
    delay: float
    in_process: bool

    @abstractmethod
    def send(self, message: Message) -> None:
        """Send a frame of a call; does nothing when the client is gone.

        Raises:
            PayloadTooLarge: it does not fit the transport.
            ResourceExhausted: too much waits to be sent.
        """

    @abstractmethod
    async def send_large(self, call: Call, message: Message) -> None:
        """Send a frame that may be compressed or cut; waits while too much waits to be sent.

        Raises:
            PayloadTooLarge: it does not fit even so.
        """

    @property
    @abstractmethod
    def budget(self) -> ByteBudget:
        """The bytes that this client's streams may hold together."""

    @abstractmethod
    async def drain(self) -> None:
        """Wait while more waits to be sent than is healthy."""

    @abstractmethod
    def refuse(self, headers: dict[str, str], error: MicroError) -> None:
        """Answer the request with these headers with an error; never raises."""

    @abstractmethod
    def finish(self, call: Call) -> None:
        """The call has ended: its id can be used again."""


class Requests(ABC):
    """Where a channel takes the requests that it receives."""

    @abstractmethod
    def request(self, replies: Replies, message: Message) -> None:
        """Take a request: start its call, queue it, or refuse it."""

    @abstractmethod
    def objection(self, headers: Mapping[str, str]) -> MicroError | None:
        """Why a request with these headers would be refused, whatever its body is."""


class Mounted:
    """An endpoint with all that is the same for every call of it.

    Attributes:
        endpoint: The endpoint.
        chain: The handler, with the middleware round it.
        is_bare: Whether the handler can be awaited without the chain.
        limits: Where a call acquires its slots, in this order, each with the reason that callers
            are given when it refuses.
        lane: Where its calls wait for the event loop.
        streams: Whether its calls are streams.
        coders: What reads requests and writes responses, by content type.
        durations: Where the time that its calls take is counted.
        cap: Seconds that a call may take, though its client would wait for longer.

    Args:
        timeout: Seconds that a unary call may take whose client set no limit.
    """

    __slots__ = (
        "_timeout",
        "cap",
        "chain",
        "coders",
        "durations",
        "endpoint",
        "is_bare",
        "lane",
        "limits",
        "streams",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        chain: Next,
        limits: Sequence[tuple[Limiter[Call], str]],
        *,
        is_bare: bool,
        timeout: float,
        durations: Durations,
    ) -> None:
        self.endpoint: Endpoint = endpoint
        self.durations: Durations = durations
        self.chain: Next = chain
        self.is_bare: bool = is_bare
        self.cap: float | None = endpoint.timeout
        self._timeout = timeout
        self.limits: tuple[tuple[Limiter[Call], str], ...] = tuple(limits)
        self.lane: Lane[Call] = Lane[Call]()
        self.streams: bool = endpoint.kind.is_stream
        self.coders: dict[str, tuple[Decoder, Encoder]] = {}

    def deadline(self, now: float) -> Deadline | None:
        """The deadline of a call whose client set none; a stream has none unless it is capped."""
        if self.cap is not None:
            return Deadline(now + self.cap)
        return None if self.streams else Deadline(now + self._timeout)


class Call:
    """One request on its way through the server.

    Attributes:
        since: When it arrived, on the monotonic clock.
        slots: How many of its endpoint's limiters it has passed.
        queue: Takes it out of the queue in which it waits; `None` while it does not wait.
        begun: Whether its task runs.
        dropped: Whether no one waits for its answer, or its time is over.
        expired: Whether its deadline came.
        stopped: Whether the service stopped first.
        answered: Whether its last frame was sent, or at least tried.
        patience: Seconds that it may wait.
        threaded: Whether its handler occupies a thread.
        slots_kept: Whether it has ended and its thread keeps its slots.
        held: Bytes of its expanded body, which the budget of the process counts.
        cost: The processor time that it was expected to use when it started.
        epoch: Where that is counted; `None` while it is not.
        meter: Counts the processor time that it uses, if it is one of those that are measured.
        start_by: Until when it may wait for the event loop, on the monotonic clock.
        items: Items that a stream has moved so far, either way.
        reading: Whether a stream's handler waits for its client.
        code: What the call ended with, 200 or the error's code.
    """

    __slots__ = (
        "answered",
        "begun",
        "body",
        "code",
        "cost",
        "credit",
        "deadline",
        "dropped",
        "epoch",
        "expired",
        "headers",
        "held",
        "id",
        "items",
        "meter",
        "mounted",
        "patience",
        "queue",
        "reading",
        "replies",
        "since",
        "slots",
        "slots_kept",
        "start_by",
        "stopped",
        "task",
        "threaded",
        "timer",
        "window",
        "withdraw",
    )

    def __init__(
        self,
        replies: Replies,
        mounted: Mounted,
        message: Message,
        deadline: Deadline | None,
        since: float,
    ) -> None:
        self.replies: Replies = replies
        self.mounted: Mounted = mounted
        self.headers: dict[str, str]
        self.body: bytes
        self.headers, self.body = headers, _ = message
        self.deadline: Deadline | None = deadline
        self.id: str = headers.get(STREAM) or headers.get(ID, "")
        self.since: float = since
        self.slots: int = 0
        self.patience: float = MAX_STREAM_WAIT_SECONDS
        self.code: int = 200
        self.items: int = 0
        self.held: int = 0
        self.cost: float = 0.0
        self.epoch: list[float] | None = None
        self.meter: Meter | None = None
        self.start_by: float = 0.0
        self.task: asyncio.Task[None] | None = None
        self.timer: set[Call] | None = None
        self.queue: Callable[[Call], bool] | None = None
        self.withdraw: Callable[[Call], None] | None = None
        self.window: ReceiveWindow | None = None
        self.credit: SendCredit | None = None
        self.begun: bool = False
        self.dropped: bool = False
        self.expired: bool = False
        self.stopped: bool = False
        self.answered: bool = False
        self.threaded: bool = False
        self.slots_kept: bool = False
        self.reading: bool = False

    def cancel(self) -> None:
        """End the call: its client cancelled it or is gone, or its time is over."""
        if self.task is not None:
            # At a deadline both ends cancel: a second time would interrupt what the first one has
            # the handler close. The end of the service does interrupt it.
            again = self.dropped and not self.stopped
            self.dropped = True
            # Cancelling a task that has not begun would keep it from cleaning up after itself.
            if self.begun and not again:
                self.task.cancel()
        elif self.withdraw is not None:
            self.withdraw(self)

    def client_left(self) -> None:
        """The client closed its stream: no one reads what the handler would still send."""
        if not self.mounted.endpoint.kind.streams_requests:
            self.cancel()

    def fail_sending(self, error: MicroError) -> None:
        """Make further sending fail with `error`."""
        if self.credit is not None:
            self.credit.fail(error)


def weight_of(call: Call) -> int:
    """The bytes that a call holds while it waits."""
    return MESSAGE_OVERHEAD_BYTES + len(call.body)
