"""Asking all processes who serves what, and knowing when to stop listening.

A query goes out on the topics of both generations of go-micro. It ends at once when the server says
that no one listens or that this user may not ask, a short while after the last answer, and at a
bound in any case. Callers that ask for the same name at the same time share one query. An answer
that comes after the end of its query is passed on as well: silence says nothing about a service.

Replies go to an inbox of their own, apart from those of calls, under a random token for each query:
a process that sees one query can forge answers to that query alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from micro.concurrency.once import Once
from micro.errors import CodecError, ConnectionLost, Forbidden, MicroError
from micro.registry.record import ServiceRecord
from micro.scope import Scope
from micro_nats.connection.connection import Connection, Observer
from micro_nats.counters import Counters
from micro_nats.registry.subjects import QUERY_TOPICS
from micro_nats.tokens import fresh_token
from micro_nats.wire.records import Announcement, decode_service, encode_result

__all__ = ["ServiceQuery"]

_LATE_SECONDS = 15.0
"""How long answers to a query that has ended are still read."""
_MAX_QUERIES = 1024
_MAX_ANSWER_BYTES = 64 << 20
_YIELD_EVERY_BYTES = 128 << 10
"""Answers are decoded in steps of this size, so that many of them do not block the event loop."""


class _Query:
    __slots__ = ("changed", "denied", "ended", "error", "payloads", "refusals", "size")

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.size = 0
        self.denied: set[str] = set()
        self.refusals = 0
        self.error: MicroError | None = None
        self.ended = False
        self.changed = asyncio.Event()

    @property
    def cannot_succeed(self) -> bool:
        """Whether no topic can bring an answer."""
        return self.error is not None or self.refusals + len(self.denied) >= len(QUERY_TOPICS)


class ServiceQuery(Observer):
    """Queries over one connection, on one reply subscription.

    Args:
        connection: The connection.
        counters: Where answers that cannot be read are counted.
        scope: Where queries run, so that a caller who leaves does not end another's.
        on_late: Called with each answer to a query that has ended.
        bound: Seconds after which a query ends in any case.
        settle: Seconds after the last answer when it ends.
    """

    def __init__(
        self,
        connection: Connection,
        counters: Counters,
        scope: Scope,
        *,
        on_late: Callable[[Announcement], None],
        bound: float = 0.5,
        settle: float = 0.025,
    ) -> None:
        self._connection = connection
        self._counters = counters
        self._scope = scope
        self._on_late = on_late
        self._bound = bound
        self._settle = settle
        self._prefix = f"{connection.inboxes.new()}."
        self._queries: dict[str, _Query] = {}
        self._running: dict[str, asyncio.Future[list[Announcement]]] = {}
        self._inbox = Once(self._subscribe)
        connection.observe(self)

    async def ask(self, name: str, *, anew: bool = False) -> list[Announcement]:
        """Ask who serves a name, or for all services when the name is empty.

        Args:
            name: The service's name.
            anew: Do not share a query that is running already: it may have been answered before
                what the caller wants to know about.

        Raises:
            ConnectionLost: there is no connection, or it broke.
            Forbidden: the server does not allow it.
        """
        running = self._running.get(name)
        if anew and running is not None:
            await asyncio.wait([running])
            running = self._running.get(name)
        if running is None:
            running = self._running[name] = asyncio.get_running_loop().create_future()
            self._scope.start(self._run(name, running), name="micro-nats-query")
        return await asyncio.shield(running)

    def on_lost(self, error: ConnectionLost) -> None:
        """End the queries that are under way."""
        for query in self._queries.values():
            query.error = error
            query.changed.set()

    def on_denied(self, subject: str) -> None:
        """Note a topic on which this user may not ask; the other one may still be allowed."""
        if subject not in QUERY_TOPICS:
            return
        for query in self._queries.values():
            query.denied.add(subject)
            if len(query.denied) == len(QUERY_TOPICS):
                query.error = Forbidden("the NATS server does not allow asking who serves what")
            query.changed.set()

    async def _run(self, name: str, result: asyncio.Future[list[Announcement]]) -> None:
        try:
            await self._inbox()
            result.set_result(await self._query(name))
        except MicroError as error:
            result.set_exception(error)
        finally:
            del self._running[name]
            if not result.done():  # the scope was cancelled
                result.set_exception(ConnectionLost("the connection was closed"))
            if not result.cancelled():
                result.exception()  # the callers may have left

    async def _query(self, name: str) -> list[Announcement]:
        service = ServiceRecord(name=name, version="") if name else None
        payload = encode_result("get" if name else "list", service)
        # A service with `allow_responses` may answer each reply subject once.
        tokens = [fresh_token() for _ in QUERY_TOPICS]
        query = self._open(tokens)
        try:
            for topic, token in zip(QUERY_TOPICS, tokens, strict=True):
                self._connection.publish_now(topic, self._prefix + token, payload)
            await self._collect(query)
        finally:
            query.ended = True
            asyncio.get_running_loop().call_later(_LATE_SECONDS, self._forget, tokens)
        if query.error is not None:
            raise query.error
        return await self._decode(query)

    def _open(self, tokens: list[str]) -> _Query:
        while len(self._queries) >= _MAX_QUERIES * len(tokens):
            del self._queries[next(iter(self._queries))]
        query = _Query()
        self._queries.update(dict.fromkeys(tokens, query))
        return query

    def _forget(self, tokens: list[str]) -> None:
        for token in tokens:
            self._queries.pop(token, None)

    async def _collect(self, query: _Query) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._bound
        while not query.cannot_succeed:
            now = loop.time()
            if now >= end:
                return
            until = min(end, now + self._settle) if query.payloads else end
            query.changed.clear()
            try:
                async with asyncio.timeout_at(until):
                    await query.changed.wait()
            except TimeoutError:
                return

    async def _decode(self, query: _Query) -> list[Announcement]:
        answers: list[Announcement] = []
        size = 0
        payloads, query.payloads = query.payloads, []
        for payload in payloads:
            size += len(payload)
            if size > _YIELD_EVERY_BYTES:
                size = 0
                await asyncio.sleep(0)
            if (answer := self._read(payload)) is not None:
                answers.append(answer)
        return answers

    def _read(self, payload: bytes) -> Announcement | None:
        try:
            return decode_service(payload)
        except CodecError as error:
            self._counters.count_malformed("a registry query", error)
            return None

    async def _subscribe(self) -> None:
        await self._connection.subscribe(f"{self._prefix}*", self._receive)

    def _receive(
        self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None
    ) -> None:
        del reply
        query = self._queries.get(subject[len(self._prefix) :])
        if query is None:
            return
        if headers is not None and not data and headers.get("Status") == "503":
            query.refusals += 1
            query.changed.set()
            return
        query.size += len(data)
        if query.size > _MAX_ANSWER_BYTES:
            self._counters.count_malformed("a registry query", CodecError("too many answers"))
        elif not query.ended:
            query.payloads.append(data)
            query.changed.set()
        elif (answer := self._read(data)) is not None:
            self._on_late(answer)
