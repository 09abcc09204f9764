"""The registrations of one process: they announce their nodes and answer queries for them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from micro.concurrency.once import Once
from micro.errors import CodecError, ConnectionLost, MicroError
from micro.registry.record import ServiceRecord
from micro_nats.connection.connection import Connection, Observer, Subscription
from micro_nats.counters import Counters
from micro_nats.registry.fit import Messages, fit
from micro_nats.registry.rate import RateLimit
from micro_nats.registry.subjects import QUERY_TOPICS, WATCH_TOPICS, name_in
from micro_nats.registry.watch import DEFAULT_TTL_SECONDS
from micro_nats.wire.records import decode_result, encode_result

__all__ = ["Announcer"]

_log = logging.getLogger("micro.nats")

_LEAVE_SECONDS = 1.0
_MAX_REPLY_CHARS = 1024
_MAX_QUERIES = 2000
_MAX_ANSWER_BYTES = 16 << 20
"""Queries that are answered in one second and their answers' bytes; an asker tries again."""


class _Registration:
    """One record, with its messages written for the server's present limit."""

    __slots__ = ("_limit", "_messages", "_ttl", "interval", "record", "timer")

    def __init__(self, record: ServiceRecord, ttl: float, interval: float) -> None:
        self.record = record
        self.interval = interval
        self.timer: asyncio.TimerHandle | None = None
        self._ttl = None if ttl == DEFAULT_TTL_SECONDS else ttl
        self._limit = 0
        self._messages = Messages(answer=b"", announcement=b"", reduced=False)

    @property
    def departure(self) -> bytes:
        """Its `delete`: the nodes, and nothing else that the record says."""
        nodes = tuple(replace(node, metadata={}) for node in self.record.nodes)
        return encode_result("delete", replace(self.record, metadata={}, endpoints=(), nodes=nodes))

    @property
    def answer_size(self) -> int:
        """Bytes of its answer to a query."""
        return len(self._messages.answer)

    def messages(self, max_payload: int) -> Messages:
        """What it sends to a server with this limit.

        Raises:
            PayloadTooLarge: the record does not fit the limit even without its types.
            ConfigError: others would refuse to read the record.
        """
        if max_payload != self._limit:
            self._messages = fit(self.record, ttl=self._ttl, limit=max_payload)
            self._limit = max_payload
            if self._messages.reduced:
                _log.warning(
                    "the registry record of %s is announced with fewer types, to fit %d bytes",
                    self.record.name,
                    max_payload,
                )
        return self._messages


class Announcer(Observer):
    """Announces the nodes of this process, and answers for them.

    Args:
        connection: The connection.
        counters: Where messages that cannot be read are counted.
    """

    def __init__(self, connection: Connection, counters: Counters) -> None:
        self._connection = connection
        self._counters = counters
        self._registrations: list[_Registration] = []
        self._responders: list[Subscription] = []
        self._respond = Once(self._start_responding)
        self._answers = RateLimit(messages=_MAX_QUERIES, size=_MAX_ANSWER_BYTES)
        connection.observe(self)

    @property
    def records(self) -> list[ServiceRecord]:
        """What is registered here now."""
        return [each.record for each in self._registrations]

    def on_restored(self) -> None:
        """Announce everything again."""
        for registration in self._registrations:
            self._broadcast(registration)

    @asynccontextmanager
    async def register(
        self, record: ServiceRecord, *, ttl: float, interval: float
    ) -> AsyncIterator[None]:
        """Announce a record's nodes inside the block; see `Registry.register`.

        Raises:
            PayloadTooLarge: the record does not fit one message.
            ConnectionLost: there is no connection.
        """
        registration = _Registration(record, ttl, interval)
        registration.messages(self._connection.max_payload)
        await self._respond()
        self._registrations.append(registration)
        try:
            self._announce(registration)
            await self._connection.flush()
            yield
        finally:
            self._registrations.remove(registration)
            if registration.timer is not None:
                registration.timer.cancel()
            await self._leave(registration)

    async def _start_responding(self) -> None:
        for topic in QUERY_TOPICS:
            self._responders.append(await self._connection.subscribe(topic, self._answer))

    def _announce(self, registration: _Registration) -> None:
        """Announce now, and again after the interval; a little early, so that all spread out."""
        self._broadcast(registration)
        delay = registration.interval * random.uniform(0.85, 1.0)
        loop = asyncio.get_running_loop()
        registration.timer = loop.call_later(delay, self._announce, registration)

    def _broadcast(self, registration: _Registration) -> None:
        for topic in WATCH_TOPICS:
            self._send_record(topic, registration, announce=True)

    async def _leave(self, registration: _Registration) -> None:
        for topic in WATCH_TOPICS:
            self._send(topic, registration.departure)
        if not self._registrations:
            # Without subscribers the server tells at once that a query has no answer.
            self._respond.undo()
            responders, self._responders = self._responders, []
            for responder in responders:
                responder.unsubscribe()
        with suppress(ConnectionLost, TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self._connection.flush()

    def _answer(
        self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None
    ) -> None:
        del headers
        if len(reply) > _MAX_REPLY_CHARS or not self._connection.inboxes.accept(reply):
            # Else a query could have this service publish to a topic of the asker's choice.
            self._counters.count_without_reply(subject, reply)
            return
        name = name_in(data)
        if name is not None and all(each.record.name != name for each in self._registrations):
            return
        size = sum(registration.answer_size for registration in self._registrations)
        if not self._answers.admit(len(data) + size):
            return
        try:
            action, wanted = decode_result(data)
        except CodecError as error:
            self._counters.count_malformed(subject, error)
            return
        for registration in self._registrations:
            if action == "list" or (
                action == "get"
                and wanted is not None
                and wanted.record.name == registration.record.name
            ):
                self._send_record(reply, registration, announce=False)

    def _send_record(self, subject: str, registration: _Registration, *, announce: bool) -> None:
        try:
            messages = registration.messages(self._connection.max_payload)
        except MicroError as error:
            self._log_unsent(error)
            return
        payload = messages.announcement if announce else messages.answer
        self._send(subject, payload)

    def _send(self, subject: str, payload: bytes) -> None:
        if not self._connection.connected:
            return  # The nodes are announced again when the connection is restored.
        try:
            self._connection.publish_now(subject, "", payload)
        except MicroError as error:
            self._log_unsent(error)

    def _log_unsent(self, error: MicroError) -> None:
        self._counters.log_limit.warning("registry", "a registry record was not sent: %s", error)
