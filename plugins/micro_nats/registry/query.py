"""Asking everybody who serves what, and knowing when to stop listening.

A query goes out on the topics of both generations of go-micro. It ends at once when the server says
that nobody listens or that nobody may ask, a short while after the last answer, and at a bound in
any case. Those who ask for the same name at the same time share one query.
"""

from __future__ import annotations

import asyncio
from itertools import count

from micro.concurrency.once import Once
from micro.errors import CodecError, ConnectionLost, Forbidden, MicroError
from micro.registry.record import ServiceRecord
from micro.scope import Scope
from micro_nats.connection.connection import Connection, Observer
from micro_nats.counters import Counters
from micro_nats.tokens import short_token
from micro_nats.wire.records import Announcement, decode_service, encode_result

__all__ = ["QUERY_TOPICS", "Lookup"]

QUERY_TOPICS = ("micro.registry.nats.query", "micro.nats.query")


class _Query:
    __slots__ = ("answers", "denied", "error", "refusals", "wake")

    def __init__(self) -> None:
        self.answers: list[Announcement] = []
        self.denied: set[str] = set()
        self.refusals = 0
        self.error: MicroError | None = None
        self.wake = asyncio.Event()

    @property
    def hopeless(self) -> bool:
        """Whether no topic can bring an answer."""
        return self.error is not None or self.refusals + len(self.denied) >= len(QUERY_TOPICS)


class Lookup(Observer):
    """Queries over one connection, on one reply subscription.

    Args:
        connection: The connection.
        counters: Where garbage is counted.
        scope: Where queries run, so that a caller who leaves does not end another's.
        bound: Seconds after which a query ends in any case.
        settle: Seconds after the last answer when it ends.
    """

    def __init__(
        self,
        connection: Connection,
        counters: Counters,
        scope: Scope,
        *,
        bound: float = 0.5,
        settle: float = 0.025,
    ) -> None:
        self._connection = connection
        self._counters = counters
        self._scope = scope
        self._bound = bound
        self._settle = settle
        self._prefix = f"{connection.inboxes.new()}.r."
        self._numbers = count()
        self._queries: dict[str, _Query] = {}
        self._running: dict[str, asyncio.Task[list[Announcement] | MicroError]] = {}
        self._inbox = Once(self._subscribe)
        connection.observe(self)

    async def ask(self, name: str) -> list[Announcement]:
        """Ask who serves a name, or what there is when the name is empty.

        Raises:
            ConnectionLost: there is no connection, or it broke.
            Forbidden: the server does not allow it.
        """
        task = self._running.get(name)
        if task is None:
            task = self._running[name] = self._scope.start(self._run(name))
            task.add_done_callback(lambda _: self._running.pop(name, None))
        await asyncio.wait([task])
        if task.cancelled():
            raise ConnectionLost("the connection was closed")
        found = task.result()
        if isinstance(found, MicroError):
            raise found
        return found

    async def _run(self, name: str) -> list[Announcement] | MicroError:
        try:
            await self._inbox()
            return await self._query(name)
        except MicroError as error:
            return error

    async def _query(self, name: str) -> list[Announcement]:
        service = ServiceRecord(name=name, version="") if name else None
        payload = encode_result("get" if name else "list", service)
        token = short_token(next(self._numbers))
        query = self._queries[token] = _Query()
        try:
            for topic in QUERY_TOPICS:
                self._connection.publish_now(topic, self._prefix + token, payload)
            await self._collect(query)
        finally:
            del self._queries[token]
        if query.error is not None:
            raise query.error
        return query.answers

    async def _collect(self, query: _Query) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._bound
        while not query.hopeless:
            now = loop.time()
            until = min(end, now + self._settle) if query.answers else end
            if now >= end:
                return
            query.wake.clear()
            try:
                async with asyncio.timeout_at(until):
                    await query.wake.wait()
            except TimeoutError:
                return

    async def _subscribe(self) -> None:
        await self._connection.subscribe(f"{self._prefix}*", self._answered)

    def _answered(
        self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None
    ) -> None:
        del reply
        query = self._queries.get(subject[len(self._prefix) :])
        if query is None:
            return
        if headers is not None and not data and headers.get("Status") == "503":
            query.refusals += 1
            query.wake.set()
            return
        try:
            query.answers.append(decode_service(data))
        except CodecError as error:
            self._counters.count_malformed("a registry query", error)
            return
        query.wake.set()

    def on_lost(self, error: ConnectionLost) -> None:
        """End every query."""
        for query in self._queries.values():
            query.error = error
            query.wake.set()

    def on_denied(self, subject: str) -> None:
        """A topic on which this process may not ask; it may still ask on the other one."""
        if subject not in QUERY_TOPICS:
            return
        for query in self._queries.values():
            query.denied.add(subject)
            if len(query.denied) == len(QUERY_TOPICS):
                query.error = Forbidden("the NATS server does not allow asking who serves what")
            query.wake.set()
