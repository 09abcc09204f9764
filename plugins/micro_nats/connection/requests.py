"""Request and reply, headers, and ordered intake on one connection: the base of JetStream and KV.

Answers to all requests come to one subscription, below an inbox that no one else knows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from micro.concurrency.budget import ByteBudget, process_budget
from micro.concurrency.once import Once
from micro.errors import (
    ConnectionLost,
    DeadlineExceeded,
    Forbidden,
    NoResponders,
    ResourceExhausted,
)
from micro_nats.connection.connection import Connection, Observer
from micro_nats.connection.headers import check_subject, format_headers
from micro_nats.tokens import socket_token

__all__ = ["MAX_PENDING_BYTES", "Intake", "NatsMessage", "Requests"]

_MAX_PENDING = 1024
MAX_PENDING_BYTES = 64 << 20
"""Bytes of payloads and headers that may wait in one intake."""

# The server answers a request without subscribers with this status and an empty payload.
_NO_RESPONDERS = 503
_STATUS_DIGITS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsMessage:
    """A message as NATS delivers it.

    Attributes:
        subject: Where it was published.
        reply: Where an answer goes; empty for none.
        payload: The bytes.
        headers: Names and values, the last of each name.
        status: The number in a message of the server's own, such as 503, 404 or 100; 0 in others.
        description: The server's text for the status.
    """

    subject: str
    payload: bytes
    reply: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 0
    description: str = ""


class Requests(Observer):
    """Requests, publications with headers, and subscriptions that are read in order.

    Args:
        connection: The connection; it outlives this object.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._prefix = f"{connection.inboxes.new()}."
        self._waiting: dict[str, _Request] = {}
        self._subscribe_once = Once(self._subscribe)
        connection.observe(self)

    def new_inbox(self) -> str:
        """A fresh subject for answers, for a subscription of its own."""
        return self._connection.inboxes.new()

    def publish(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a message within this turn of the event loop.

        Raises:
            InvalidName: a subject or a header cannot be sent.
            ConnectionLost: there is no connection; nothing is kept to be sent later.
            PayloadTooLarge: headers and payload are over the server's limit.
            ResourceExhausted: more than 64 MiB wait to be sent.
        """
        check_subject(subject)
        if reply:
            check_subject(reply)
        block = format_headers(headers) if headers else b""
        self._connection.publish_now(subject, reply, payload, block)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        timeout: float,
        headers: Mapping[str, str] | None = None,
    ) -> NatsMessage:
        """Publish a request and wait for the first answer.

        Args:
            subject: Where to.
            payload: The request.
            timeout: Seconds to wait.
            headers: The request's headers.

        Raises:
            NoResponders: no one listens at the subject.
            Forbidden: this user may not publish to it.
            DeadlineExceeded: no answer came in time; the request may have been received.
            ConnectionLost: there is no connection, or it broke; the request may have been received.
            InvalidName: the subject or a header cannot be sent.
            PayloadTooLarge: headers and payload are over the server's limit.
        """
        token = socket_token()
        request = self._waiting[token] = _Request(subject)
        try:
            async with asyncio.timeout(timeout) as bound:
                # One subscription for all answers costs the server less than one for each request.
                await self._subscribe_once()
                self.publish(subject, payload, reply=self._prefix + token, headers=headers)
                return await request.answer
        except TimeoutError:
            if not bound.expired():
                raise
            raise DeadlineExceeded(f"no answer from {subject!r} in {timeout:g} s") from None
        finally:
            del self._waiting[token]

    @asynccontextmanager
    async def subscribe(
        self, subject: str, *, queue: str = "", max_pending: int = _MAX_PENDING
    ) -> AsyncIterator[Intake]:
        """Subscribe for as long as the block lasts; the intake is iterated in the block.

        Args:
            subject: A subject or a pattern.
            queue: Of all subscriptions with this queue name each message reaches one.
            max_pending: How many messages may wait to be read.

        Raises:
            InvalidName: the subject or the queue cannot be used.
            ConnectionLost: there is no connection.
            Forbidden: the server does not allow it.
        """
        check_subject(subject)
        if queue:
            check_subject(queue)
        intake = Intake(subject, max_pending)
        subscription = await self._connection.subscribe(subject, intake.on_message, queue)
        try:
            yield intake
        finally:
            subscription.unsubscribe()
            intake.close()

    def on_lost(self, error: ConnectionLost) -> None:
        """Fail every request: its answer may be lost."""
        for request in self._waiting.values():
            request.fail(ConnectionLost(error.detail))

    def on_denied(self, subject: str) -> None:
        """Fail the requests that the server did not accept."""
        for request in self._waiting.values():
            if request.subject == subject:
                request.fail(Forbidden(f"the NATS server does not allow sending to {subject!r}"))

    async def _subscribe(self) -> None:
        await self._connection.subscribe(f"{self._prefix}*", self._on_message)

    def _on_message(
        self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None
    ) -> None:
        request = self._waiting.get(subject[len(self._prefix) :])
        if request is None:
            return  # the caller no longer waits
        message = _read(subject, reply, data, headers)
        if message.status == _NO_RESPONDERS and not data:
            request.fail(NoResponders(f"no one listens at {request.subject!r}"))
        elif not request.answer.done():
            request.answer.set_result(message)


class _Request:
    """A request that waits for its answer."""

    __slots__ = ("answer", "subject")

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.answer: asyncio.Future[NatsMessage] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Intake(AsyncIterator[NatsMessage]):
    """Messages of one subscription in the order received; one reader iterates it.

    It is bounded in number and bytes, and the budget of the process counts the bytes of all
    intakes. When more messages come than are read, the iteration ends with an error after those
    that came before: a gap is never silent.
    """

    def __init__(self, subject: str, max_pending: int) -> None:
        self._subject = subject
        self._max_pending = max_pending
        self._messages: deque[tuple[NatsMessage, int]] = deque()
        self._budget = ByteBudget(MAX_PENDING_BYTES, process_budget())
        self._overflowed = False
        self._wake = asyncio.Event()

    async def __anext__(self) -> NatsMessage:
        """Wait for the next message.

        Raises:
            ResourceExhausted: messages came faster than they were read, and some are lost.
        """
        while not self._messages:
            if self._overflowed:
                raise ResourceExhausted(
                    f"more than {self._max_pending} messages or {MAX_PENDING_BYTES} bytes"
                    f" on {self._subject!r} were waiting to be read, or the process held as many"
                    " bytes as it may"
                )
            self._wake.clear()
            await self._wake.wait()
        message, size = self._messages.popleft()
        self._budget.release(size)
        return message

    def close(self) -> None:
        """Drop what waits: no one reads it any more."""
        self._overflowed = True
        self._messages.clear()
        self._budget.release(self._budget.held)
        self._wake.set()

    def on_message(
        self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None
    ) -> None:
        """Queue a message of the subscription."""
        self._wake.set()
        # Headers count: a sender may put as much into them as into the payload.
        size = len(data) + (sum(map(len, (*headers, *headers.values()))) if headers else 0)
        full = len(self._messages) >= self._max_pending
        if self._overflowed or full or not self._budget.acquire(size):
            self._overflowed = True
            return
        self._messages.append((_read(subject, reply, data, headers), size))


def _read(subject: str, reply: str, data: bytes, headers: dict[str, str] | None) -> NatsMessage:
    if headers is None:
        return NatsMessage(subject=subject, reply=reply, payload=data)
    status = headers.pop("Status", "0")
    return NatsMessage(
        subject=subject,
        reply=reply,
        payload=data,
        headers=headers,
        status=int(status) if status.isdecimal() and len(status) <= _STATUS_DIGITS else 0,
        description=headers.pop("Description", ""),
    )
