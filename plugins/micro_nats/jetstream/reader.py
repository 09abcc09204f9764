"""Reads a stream in order, each event once: gaps are found, and the reader begins again there."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from micro.broker.kept_types import Start, Stored
from micro.errors import ConnectionLost, MicroError, NotFound, Unavailable
from micro_nats.connection.connection import Connection, Subscription
from micro_nats.jetstream.api import JetStreamApi
from micro_nats.jetstream.consumers import Consumers, filter_config, start_config
from micro_nats.jetstream.messages import AckSubject, read_ack_subject, read_stored
from micro_nats.jetstream.streams import nanoseconds
from micro_nats.tokens import fresh_token

__all__ = ["OrderedReader", "Reading"]

_BATCH = 256
_BATCH_BYTES = 8 << 20
_EXPIRES_SECONDS = 30.0
_HEARTBEAT_SECONDS = 5.0
_SILENCE_SECONDS = 2.5 * _HEARTBEAT_SECONDS
_IDLE_SECONDS = 60.0
_RETRY_SECONDS = 0.5
_GIVE_UP_SECONDS = 30.0
_HEARTBEAT = "100"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is read.

    Attributes:
        topic: The topic.
        stream: Its stream.
        subjects: The subjects of its events.
        start: Where to begin.
        end: The last time or sequence; `None` for no end.
        partition: Reads the partition from a subject.
    """

    topic: str
    stream: str
    subjects: list[str]
    start: Start
    end: datetime | int | None
    partition: Callable[[str], int | None]


class OrderedReader(AsyncIterator[Stored]):
    """Iterates stored events; open it with `open` and close it with `aclose`.

    Args:
        connection: The connection.
        api: JetStream's API.
        reading: What is read.
    """

    def __init__(self, connection: Connection, api: JetStreamApi, reading: Reading) -> None:
        self._connection = connection
        self._api = api
        self._consumers = Consumers(api)
        self._reading = reading
        self._name = ""
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._arrived: deque[tuple[AckSubject, str, bytes, dict[str, str] | None]] = deque()
        self._wake = asyncio.Event()
        self._requested = 0
        self._heard_at = 0.0
        self._number = 0
        self._sequence = 0
        self._resume: dict[str, Any] = start_config(reading.start)
        self._broken = False
        self._ended = False

    async def open(self) -> None:
        """Begin.

        Raises:
            NotFound: there is no such stream.
            Forbidden, Unavailable, ConnectionLost, DeadlineExceeded: it cannot be read now.
        """
        await self._leave()
        self._name = f"micro-read-{fresh_token()}"
        config = {
            "name": self._name,
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": nanoseconds(_IDLE_SECONDS),
            **self._resume,
            **filter_config(self._reading.subjects),
        }
        info = await self._consumers.create(self._reading.stream, config)
        if self._resume["deliver_policy"] == "new":
            # After a loss, go on here rather than at what is new then.
            self._resume = {"deliver_policy": "by_start_time", "opt_start_time": info["created"]}
        self._inbox = self._connection.inboxes.new()
        self._subscription = await self._connection.subscribe(self._inbox, self._receive)
        self._number = 0
        self._broken = False
        if not info.get("num_pending", 0):
            self._ended = self._has_end

    async def aclose(self) -> None:
        """End the reading; the consumer is removed where the server still answers."""
        await self._leave()

    def on_lost(self) -> None:
        """Begin again where it was as soon as the connection is back."""
        self._broken = True
        self._wake.set()

    async def __anext__(self) -> Stored:
        """Wait for the next event.

        Raises:
            NotFound: the stream was removed.
            ConnectionLost, Unavailable: it cannot be read for 30 s.
        """
        while not self._ended:
            if self._arrived:
                found = await self._next()
                if found is not None:
                    return found
            elif self._broken:
                await self._reopen()
            else:
                await self._wait()
        raise StopAsyncIteration

    async def _next(self) -> Stored | None:
        place, subject, body, headers = self._arrived.popleft()
        if place.number != self._number + 1:
            # Something was lost on the way.
            self._broken = True
            self._arrived.clear()
            return None
        self._number = place.number
        reading = self._reading
        stored = read_stored(reading.topic, headers, body, place, reading.partition(subject))
        if self._is_after_end(stored):
            self._ended = True
            return None
        self._sequence = stored.sequence
        self._resume = start_config(stored.sequence + 1)
        if not place.pending and not self._arrived:
            self._ended = self._has_end
        return stored

    @property
    def _has_end(self) -> bool:
        """Whether it ends once nothing waits: later events are waited for without an end only."""
        return self._reading.end is not None

    def _is_after_end(self, stored: Stored) -> bool:
        end = self._reading.end
        if isinstance(end, datetime):
            return stored.stored_at > end
        return end is not None and stored.sequence > end

    async def _wait(self) -> None:
        """Wait for events; ask for more when all that were asked for have come."""
        if not self._requested:
            self._request()
        self._wake.clear()
        left = self._heard_at + _SILENCE_SECONDS - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, left)) as bound:
                await self._wake.wait()
        except TimeoutError:
            if not bound.expired():
                raise
            self._broken = True
        if not self._arrived and self._requested and not self._broken:
            # The server says that nothing is left: the rest was removed while it was read.
            self._ended = self._has_end

    def _request(self) -> None:
        body = {
            "batch": _BATCH,
            "max_bytes": max(_BATCH_BYTES, self._connection.max_payload),
            "expires": nanoseconds(_EXPIRES_SECONDS),
            "idle_heartbeat": nanoseconds(_HEARTBEAT_SECONDS),
        }
        subject = f"{self._api.prefix}.CONSUMER.MSG.NEXT.{self._reading.stream}.{self._name}"
        self._heard_at = time.monotonic()
        try:
            self._connection.publish_now(subject, self._inbox, json.dumps(body).encode())
        except ConnectionLost:
            self._broken = True
            return
        self._requested = _BATCH

    def _receive(
        self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None
    ) -> None:
        self._heard_at = time.monotonic()
        self._wake.set()
        if reply:
            self._requested = max(0, self._requested - 1)
            self._arrived.append((read_ack_subject(reply), subject, data, headers))
            return
        status, text = (headers or {}).get("Status"), (headers or {}).get("Description", "")
        if status in ("404", "408") or "MaxBytes" in text or "Batch Completed" in text:
            self._requested = 0
        elif status != _HEARTBEAT:
            # The consumer is gone, or has no leader.
            self._broken = True

    async def _reopen(self) -> None:
        end = time.monotonic() + _GIVE_UP_SECONDS
        while True:
            try:
                await self.open()
            except NotFound:
                raise
            except MicroError as error:
                if time.monotonic() > end:
                    raise Unavailable(f"cannot go on reading: {error.detail}") from error
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _leave(self) -> None:
        self._requested = 0
        if self._subscription is not None:
            self._subscription.unsubscribe()
            self._subscription = None
            subject = f"{self._api.prefix}.CONSUMER.DELETE.{self._reading.stream}.{self._name}"
            try:
                # Without an answer: the server removes an idle one by itself.
                self._connection.publish_now(subject, "", b"")
            except ConnectionLost:
                return
