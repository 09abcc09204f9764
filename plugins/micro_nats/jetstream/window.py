"""Confirmed publishing: many events in flight, each resolved by the server's acknowledgement.

An event whose acknowledgement is missing is sent again with the same id: the server stores an id
once within the stream's window of deduplication.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from micro.broker.kept_types import Receipt
from micro.concurrency.once import Once
from micro.deadline import current_deadline
from micro.errors import ConnectionLost, Forbidden, MicroError
from micro.scope import Scope
from micro_nats.connection.connection import Connection, Observer
from micro_nats.connection.headers import format_headers
from micro_nats.jetstream.api import JetStreamApi
from micro_nats.jetstream.holds import Holds
from micro_nats.jetstream.publication import Outgoing, Publication, late, lost

__all__ = ["MAX_IN_FLIGHT", "MAX_IN_FLIGHT_BYTES", "PublishWindow"]

MAX_IN_FLIGHT = 8192
MAX_IN_FLIGHT_BYTES = 32 << 20
"""Bytes of events that wait for their acknowledgement; each is kept to be sent again."""

# A cluster takes up to 10 s to elect a leader.
_TIMEOUT_SECONDS = 20.0
# A busy server answers late, so an early repeat would only add to its work.
_REPEAT_SECONDS = 4.0
_SWEEP_SECONDS = 0.25
_NO_RESPONDERS = "503"


class PublishWindow(Observer):
    """Publishes events and resolves each by its acknowledgement.

    Events on one subject are stored in the order of the calls, except that some of those in flight
    may change places when the stream loses its leader.

    Args:
        connection: The connection.
        api: JetStream's API.
        scope: Where the tasks run that try again.
    """

    def __init__(self, connection: Connection, api: JetStreamApi, scope: Scope) -> None:
        self._connection = connection
        self._prefix = f"{connection.inboxes.new()}."
        self._number = 0
        self._pending: dict[int, Publication] = {}
        self._bytes = 0
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._listen = Once(self._subscribe)
        self._listening = False
        self._timer: asyncio.TimerHandle | None = None
        self._holds = Holds(api, scope, self._send)
        connection.observe(self)

    async def publish(self, event: Outgoing) -> Receipt:
        """Publish an event and wait until it is stored.

        Raises:
            QueueFull, PayloadTooLarge, NotFound, Forbidden, Unavailable: it was not stored.
            ConnectionLost, DeadlineExceeded: it is unknown whether it was stored; the id is in
                `details["event"]`. There was no answer within 20 s, or within the time that the
                running handler has.
            InvalidName: a header cannot be sent.
        """
        give_up_at = time.monotonic() + _time_left()
        publication = Publication(self._next(), event, format_headers(event.headers), give_up_at)
        if not self._listening or not self._connection.connected:
            await self._connect(publication)
        if self._waiters or not self._has_place(publication.size):
            await self._wait_for_place(publication)
        self._pending[publication.number] = publication
        self._bytes += publication.size
        # There may be a place for the next one as well.
        self._wake()
        try:
            if not self._holds.wait_behind(publication):
                self._send(publication)
            return await publication.answer
        finally:
            del self._pending[publication.number]
            self._bytes -= publication.size
            self._wake()

    def close(self) -> None:
        """Fail every event that is not resolved: the connection is about to be closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for publication in self._pending.values():
            publication.fail(lost(publication.event, "the connection was closed"))

    def on_lost(self, error: ConnectionLost) -> None:
        """Fail the events that cannot be repeated safely; the others wait for the connection."""
        for publication in self._pending.values():
            if not _is_repeatable(publication):
                publication.fail(lost(publication.event, error.detail))

    def on_restored(self) -> None:
        """Send again what was not acknowledged, in the order of the calls."""
        for publication in self._pending.values():
            if not publication.answer.done() and not self._holds.wait_behind(publication):
                self._send(publication)

    def on_denied(self, subject: str) -> None:
        """Fail the events that this user may not publish."""
        for publication in self._pending.values():
            if publication.event.subject == subject:
                text = f"the NATS server does not allow publishing to {subject!r}"
                publication.fail(Forbidden(text))

    # The window.

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _has_place(self, size: int) -> bool:
        if not self._pending:
            return True
        return len(self._pending) < MAX_IN_FLIGHT and self._bytes + size <= MAX_IN_FLIGHT_BYTES

    async def _wait_for_place(self, publication: Publication) -> None:
        waiter = publication.size, asyncio.get_running_loop().create_future()
        # It stays in line until it has its place, so that no later call overtakes it.
        self._waiters.append(waiter)
        try:
            async with self._bound(publication, "it was not sent: too many wait for the server"):
                await waiter[1]
        except BaseException:
            self._waiters.remove(waiter)
            self._wake()
            raise
        self._waiters.popleft()

    @asynccontextmanager
    async def _bound(self, publication: Publication, reason: str) -> AsyncIterator[None]:
        try:
            left = max(0.0, publication.give_up_at - time.monotonic())
            async with asyncio.timeout(left) as bound:
                yield
        except TimeoutError:
            if not bound.expired():
                raise
            raise late(publication.event, reason) from None

    def _wake(self) -> None:
        if self._waiters:
            size, waiter = self._waiters[0]
            if not waiter.done() and self._has_place(size):
                waiter.set_result(None)

    async def _connect(self, publication: Publication) -> None:
        left = max(0.0, publication.give_up_at - time.monotonic())
        try:
            await self._connection.wait_connected(min(left, self._connection.connect_timeout))
            async with self._bound(publication, "it was not sent: the server does not answer"):
                await self._listen()
        except ConnectionLost as error:
            raise lost(publication.event, error.detail) from error
        self._listening = True

    def _send(self, publication: Publication) -> None:
        """Send an event; without a connection it is sent when that is back."""
        if self._timer is None:
            self._arm()
        event = publication.event
        publication.sent_at = time.monotonic()
        reply = f"{self._prefix}{publication.number}"
        try:
            self._connection.publish_now(event.subject, reply, event.body, publication.block)
        except ConnectionLost:
            return
        except MicroError as error:
            publication.fail(error)
        publication.sends += 1

    # Answers.

    async def _subscribe(self) -> None:
        await self._connection.subscribe(f"{self._prefix}*", self._receive)

    def _receive(
        self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None
    ) -> None:
        del reply
        token = subject[len(self._prefix) :]
        publication = self._pending.get(int(token)) if token.isdecimal() else None
        if publication is None or publication.answer.done():
            return  # the caller no longer waits, or a repeat was answered before
        if headers is not None and not data and headers.get("Status") == _NO_RESPONDERS:
            self._holds.refused(publication)
        else:
            publication.resolve(data)

    # Time.

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Give up what took too long, and repeat what has waited for long."""
        self._timer = None
        now = time.monotonic()
        connected = self._connection.connected
        for publication in list(self._pending.values()):
            if publication.answer.done():
                continue
            if now >= publication.give_up_at:
                publication.give_up(connected)
            elif (
                connected and _is_due(publication, now) and not self._holds.wait_behind(publication)
            ):
                self._send(publication)
        if self._pending:
            self._arm()


def _is_due(publication: Publication, now: float) -> bool:
    return now - publication.sent_at > _REPEAT_SECONDS and _is_repeatable(publication)


def _is_repeatable(publication: Publication) -> bool:
    """Whether the stream still knows the id when a repeat arrives."""
    return publication.event.dedup >= 2 * _TIMEOUT_SECONDS


def _time_left() -> float:
    deadline = current_deadline()
    return _TIMEOUT_SECONDS if deadline is None else min(_TIMEOUT_SECONDS, deadline.remaining())
