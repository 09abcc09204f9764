"""Reads one consumer: pulls into free places, and finds its way back after every loss."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from micro.errors import (
    BadRequest,
    ConnectionLost,
    MicroError,
    NotFound,
    Unavailable,
)
from micro_nats.connection.connection import Connection, Subscription
from micro_nats.counters import LogLimit
from micro_nats.jetstream.consumers import Consumers
from micro_nats.jetstream.delivery import Arrival
from micro_nats.jetstream.messages import read_ack_subject
from micro_nats.jetstream.streams import nanoseconds

__all__ = ["Feed", "Place", "Taker"]

log = logging.getLogger("micro.nats")

_EXPIRES_SECONDS = 30.0
_HEARTBEAT_SECONDS = 5.0
# Two missed heartbeats, and the time that a busy machine may take.
_SILENCE_SECONDS = 2.5 * _HEARTBEAT_SECONDS
_FIRST_WAIT_SECONDS = 0.1
_MAX_WAIT_SECONDS = 5.0
_RECONNECT_SECONDS = 60.0
_HEARTBEAT = 100
_ENDED = frozenset({404, 408})
_PULL_ENDED = ("batch completed", "exceeds maxbytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a feed reads.

    Attributes:
        topic: The topic.
        stream: The stream.
        config: The consumer.
        partition: Reads the partition from an event's subject.
    """

    topic: str
    stream: str
    config: dict[str, Any]
    partition: Callable[[str], int | None]


class Taker(ABC):
    """What a feed hands over to."""

    @abstractmethod
    def take(self, feed: Feed, arrival: Arrival) -> None:
        """Take an event; returns at once, never raises."""

    @abstractmethod
    def refill(self) -> None:
        """Have the feeds ask for events again, in this turn of the event loop."""


class Feed:
    """One consumer of a consumption.

    Args:
        connection: The connection.
        consumers: Consumers on the server.
        place: What it reads.
        taker: Where events go.

    Attributes:
        requested: Events that the server may still send for the last request.
        attached: Whether it can ask for events.
        max_batch: The most events that one request may ask for.
    """

    def __init__(
        self, connection: Connection, consumers: Consumers, place: Place, taker: Taker
    ) -> None:
        self._connection = connection
        self._consumers = consumers
        self._place = place
        self._taker = taker
        self._config = place.config
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._pull = 0
        self._heard_at = 0.0
        self._broken: MicroError | None = None
        self._recalled = False
        self._changed = asyncio.Event()
        self._log_limit = LogLimit()
        self._wait = _FIRST_WAIT_SECONDS
        self.requested = 0
        self.attached = False
        self.max_batch = 0

    @property
    def name(self) -> str:
        """The consumer's name."""
        return str(self._config["name"])

    async def attach(self) -> None:
        """Find or create the consumer, and listen for its events.

        Raises:
            NotFound, Unsupported, Forbidden, Unavailable, ConnectionLost, DeadlineExceeded: see
                `Consumers.attach`.
        """
        info = await self._consumers.attach(self._place.stream, self._config)
        if self._config["deliver_policy"] == "new":
            # If the position is removed while it is read, the next one begins where this one did.
            self._resume_from(info["created"])
        limit = info["config"].get("max_batch", 0)
        self.max_batch = limit if limit > 0 else 1 << 20
        # A fresh inbox each time: what the server still holds for the old one never arrives.
        self._inbox = self._connection.inboxes.new()
        self._broken = None
        self._recalled = False
        self.requested = 0
        self._subscription = await self._connection.subscribe(f"{self._inbox}.*", self._receive)
        self.attached = True

    async def run(self) -> None:
        """Stay attached until cancelled."""
        while True:
            try:
                if not self.attached:
                    await self.attach()
                    log.debug("reading the position %r", self.name)
                self._taker.refill()
                await self._watch()
                # Recalled: what is on its way still arrives, and nothing after that.
                await self.drain()
                continue
            except ConnectionLost as error:
                # The connection tells of itself, and every feed waits for it.
                log.debug("the position %r is not read now: %s", self.name, error)
                self._detach()
                await self._wait_connected()
            except MicroError as error:
                self._detach()
                self._report(error)
            await asyncio.sleep(self._wait * random.uniform(0.5, 1.0))
            self._wait = min(2 * self._wait, _MAX_WAIT_SECONDS)

    def request(self, batch: int) -> None:
        """Ask for so many events; never raises."""
        self._pull += 1
        body = {
            "batch": min(batch, self.max_batch),
            "expires": nanoseconds(_EXPIRES_SECONDS),
            "idle_heartbeat": nanoseconds(_HEARTBEAT_SECONDS),
        }
        subject = f"{self._consumers.prefix}.CONSUMER.MSG.NEXT.{self._place.stream}.{self.name}"
        reply = f"{self._inbox}.{self._pull}"
        try:
            self._connection.publish_now(subject, reply, json.dumps(body).encode())
        except MicroError as error:
            self.stop(error)
            return
        self.requested = min(batch, self.max_batch)
        self._heard_at = time.monotonic()
        self._changed.set()

    def stop(self, error: MicroError) -> None:
        """Note that events come no more; `run` attaches again."""
        if self.attached:
            self._broken = error
            self._detach()
            self._changed.set()

    def recall(self) -> None:
        """Have the server send nothing more for the last request."""
        if self.attached and self.requested:
            self._recalled = True
            self._changed.set()

    async def drain(self) -> None:
        """Stop the intake; returns when every event that was sent here has arrived."""
        self.attached = False
        self.requested = 0
        if self._subscription is not None:
            await self._subscription.drain()
            self._subscription = None

    def close(self) -> None:
        """End the intake at once."""
        self._detach()

    async def _watch(self) -> None:
        """Return when the last request is recalled; raise why no events come any more."""
        while not self._recalled:
            left = None
            if self.requested:
                left = self._heard_at + _SILENCE_SECONDS - time.monotonic()
            self._changed.clear()
            if self._broken is not None:
                raise self._broken
            if left is not None and left <= 0:
                raise Unavailable(f"the server was silent for {_SILENCE_SECONDS:g} s")
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _detach(self) -> None:
        self.attached = False
        self.requested = 0
        if self._subscription is not None:
            self._subscription.unsubscribe()
            self._subscription = None

    def _resume_from(self, time: str) -> None:
        self._config = {
            **self._config,
            "deliver_policy": "by_start_time",
            "opt_start_time": time,
        }

    async def _wait_connected(self) -> None:
        self._wait = _FIRST_WAIT_SECONDS
        try:
            await self._connection.wait_connected(_RECONNECT_SECONDS)
        except ConnectionLost as error:
            log.debug("the position %r waits: %s", self.name, error)

    def _report(self, error: MicroError) -> None:
        self._log_limit.warning(
            "feed", "the position %r of %r is not read now: %s", self.name, self._place.topic, error
        )

    # What arrives.

    def _receive(
        self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None
    ) -> None:
        self._heard_at = time.monotonic()
        if not reply:
            # Only the server's own messages have no reply subject.
            self._on_status(subject, headers or {})
            return
        try:
            place = read_ack_subject(reply)
        except BadRequest as error:
            self._log_limit.warning("subject", "dropped a message: %s", error)
            return
        self._wait = _FIRST_WAIT_SECONDS
        self.requested = max(0, self.requested - 1)
        arrival = Arrival(
            self._place.topic,
            self._place.partition(subject),
            reply=reply,
            place=place,
            headers=headers,
            body=data,
        )
        self._taker.take(self, arrival)

    def _on_status(self, subject: str, headers: dict[str, str]) -> None:
        status, text = headers.get("Status", ""), headers.get("Description", "")
        code = int(status) if status.isdecimal() else 0
        if code == _HEARTBEAT or subject != f"{self._inbox}.{self._pull}":
            return  # a sign of life, or the end of an earlier request
        if code in _ENDED or text.lower().endswith(_PULL_ENDED):
            self._wait = _FIRST_WAIT_SECONDS
            self.requested = 0
            self._taker.refill()
        elif "consumer deleted" in text.lower():
            self.stop(NotFound(f"the position {self.name!r} was removed"))
        else:
            self.stop(Unavailable(f"the NATS server says: {code} {text or 'no responders'}"))
