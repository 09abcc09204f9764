"""nats-py's client with its own reading and writing: nothing that arrives can stop it.

nats-py connects, greets, authenticates and pings. Bytes are then read and written here, without a
task, a queue or an object for each message, and in the order in which they were asked for. One
client is one connection to one server: lost, it stays lost, and Connection makes the next one.

It touches private names of nats-py, so the version is capped and `tests/plugins/micro_nats` holds
the contract down.
"""

from __future__ import annotations

import asyncio
import json
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import Any

from nats.aio.client import Client, Srv

from micro.errors import (
    ConfigError,
    ConnectionLost,
    PayloadTooLarge,
    ResourceExhausted,
)
from micro_nats.connection.byte_stream import ServerStream
from micro_nats.connection.parser import Handler, MalformedProtocol, Parser, parse_headers

__all__ = ["HARD_LIMIT", "HIGH_WATER", "Callback", "HardenedClient", "Observer", "Routes"]

log = logging.getLogger("micro.nats")

Callback = Callable[[str, str, bytes, dict[str, str] | None], None]
"""Takes subject, reply subject, payload and headers; returns at once."""

Routes = dict[bytes, Callback]
"""Subscription ids to callbacks; the Connection keeps them from one client to the next."""

HIGH_WATER = 8 << 20
HARD_LIMIT = 64 << 20
_TURN_BYTES = 64 << 10
_CLOSE_SECONDS = 2.0


class Observer(ABC):
    """What a client tells its owner; called on the event loop, returns at once, never raises."""

    @abstractmethod
    def lost(self, client: HardenedClient, error: Exception) -> None:
        """The connection is gone for good; called once, and only after it stood."""

    @abstractmethod
    def complained(self, text: str) -> None:
        """The server sent -ERR; it closes the connection itself where that ends it."""

    @abstractmethod
    def informed(self, info: Mapping[str, Any]) -> None:
        """The server sent INFO: new servers, lame duck mode."""


class HardenedClient(Client, Handler):
    """One connection to one server, for a Connection; nats-py's own `subscribe` is not served.

    Args:
        routes: Where messages go, by subscription id.
        observer: Who learns of loss and complaints.
        before_write: Called before a turn's bytes are written, to add to them.
    """

    def __init__(
        self, routes: Routes, observer: Observer, before_write: Callable[[], None]
    ) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._routes = routes
        self._observer = observer
        self._before_write = before_write
        self._parser = Parser(self)
        self._stream: ServerStream | None = None
        self._answers: deque[asyncio.Future[None] | None] = deque()
        self._out: list[bytes] = []
        self._out_size = 0
        self._behind = 0
        self._due = False
        self._standing = False
        self._complaint = ""
        self.dropped = 0

    async def open(self, url: str, options: Mapping[str, Any]) -> None:
        """Connect to one server, once; whatever goes wrong leaves nothing open.

        Args:
            url: The server, without credentials.
            options: Arguments of nats-py's `connect`.

        Raises:
            Exception: what nats-py, the TLS library or the system said.
        """
        try:
            await self.connect(servers=[url], allow_reconnect=False, error_cb=_ignore, **options)
            if self._status != Client.CONNECTED:
                raise ConnectionLost("the server did not answer the greeting")
        except BaseException:
            await self.shut(at_once=True)
            raise
        self._standing = True
        self._stream = ServerStream(self._transport, self.receive, self.lose)
        if left := self._stream.take_over():
            self.receive(left)

    @property
    def standing(self) -> bool:
        """Whether the connection is up, as far as anybody knows."""
        return self._standing

    @property
    def info(self) -> Mapping[str, Any]:
        """What the server last said of itself."""
        return self._server_info

    @property
    def buffered(self) -> int:
        """Bytes that wait to be sent."""
        waiting = self._stream.waiting() if self._stream is not None else 0
        return waiting + self._out_size + self._pending_data_size

    def publish_now(self, subject: str, reply: str, payload: bytes, headers: bytes = b"") -> None:
        """Send a message within this turn of the event loop.

        Args:
            subject: Where to; the caller has checked that it has no blanks.
            reply: Where answers go; empty for none.
            payload: The message.
            headers: A whole NATS header block, or nothing.

        Raises:
            ConnectionLost: the connection is gone; nothing is kept to be sent late.
            PayloadTooLarge: headers and payload are over the server's limit.
            ResourceExhausted: 64 MiB wait to be sent already.
        """
        size = len(payload) + len(headers)
        if size > self._max_payload:
            raise PayloadTooLarge(f"{size} bytes are over the server's limit {self._max_payload}")
        if self._behind + self._out_size > HARD_LIMIT and self.buffered > HARD_LIMIT:
            raise ResourceExhausted(f"{HARD_LIMIT} bytes wait to be sent", refused=True)
        if headers:
            line = f"HPUB {subject} {reply} {len(headers)} {size}\r\n"
            self.post(b"%b%b%b\r\n" % (line.encode(), headers, payload))
        else:
            self.put(subject, reply, payload)

    def put(self, subject: str, reply: str, payload: bytes) -> None:
        """Send a message whose size and turn the caller has bounded already.

        Raises:
            ConnectionLost: the connection is gone.
        """
        self.post(b"%b%b\r\n" % (f"PUB {subject} {reply} {len(payload)}\r\n".encode(), payload))

    def post(self, data: bytes) -> None:
        """Send bytes of the protocol within this turn, in the order posted.

        Raises:
            ConnectionLost: the connection is gone.
        """
        if not self._standing:
            raise ConnectionLost("no connection to the NATS server")
        self._out.append(data)
        self._out_size += len(data)
        if self._out_size > _TURN_BYTES:
            self._write()
        elif not self._due:
            self.schedule()

    def schedule(self) -> None:
        """Have `before_write` called, and all that is posted written, at the end of this turn."""
        if not self._due:
            self._due = True
            self._loop.call_soon(self._turn, context=self._context)

    def ping(self) -> asyncio.Future[None]:
        """Ask for an answer; it comes after the server has taken all that was sent before.

        Returns:
            A future that fails with ConnectionLost when the connection goes first. Whoever waits
            for it may be cancelled: a late answer harms nothing.
        """
        answer: asyncio.Future[None] = self._loop.create_future()
        if self._standing:
            self._before_write()
            self._answers.append(answer)
            self.post(b"PING\r\n")
            self._write()
        else:
            answer.set_exception(ConnectionLost("no connection to the NATS server"))
        return answer

    async def room(self) -> None:
        """Wait while more than 8 MiB wait to be sent.

        Raises:
            ConnectionLost: the connection went first.
        """
        if self._stream is not None and self._stream.wire is not None:
            await self._stream.room()
        elif self._pending_data_size > HIGH_WATER and self._flush_queue is not None:
            flushed = self._loop.create_future()
            await self._flush_queue.put(flushed)
            await flushed
        if not self._standing:
            raise ConnectionLost("no connection to the NATS server")

    def receive(self, data: bytes) -> None:
        """Take bytes from the server."""
        try:
            self._parser.feed(data)
        except MalformedProtocol as error:
            self.lose(error)

    def lose(self, error: Exception) -> None:
        """Give the connection up; everybody who waits for an answer learns it now."""
        if not self._standing:
            return
        self._standing = False
        self._out.clear()
        self._out_size = 0
        if self._stream is not None:
            self._stream.abort()
        reason = self._complaint or str(error) or type(error).__name__
        while self._answers:
            answer = self._answers.popleft()
            if answer is not None and not answer.done():
                answer.set_exception(ConnectionLost(f"the NATS connection broke: {reason}"))
                answer.exception()
        self._observer.lost(self, ConnectionLost(f"the NATS connection broke: {reason}"))

    async def shut(self, *, at_once: bool = False) -> None:
        """Close the connection, after what was posted unless it must be at once; bounded."""
        if self._standing and not at_once:
            self._before_write()
            self._write()
        self._standing = False
        self._status = Client.CLOSED
        tasks = [self._reading_task, self._ping_interval_task, self._flusher_task]
        running = {task for task in tasks if task is not None and not task.done()}
        for task in running:
            task.cancel()
        if self._stream is None and self._transport:
            self._stream = ServerStream(self._transport, self.receive, self.lose)
        if self._stream is not None:
            await self._stream.close(0.0 if at_once else _CLOSE_SECONDS)
        if running:
            await asyncio.wait(running, timeout=_CLOSE_SECONDS)

    # What the parser calls.

    def on_message(
        self, sid: bytes, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        """Hand a message to its subscription. Whatever is wrong with one, the next is read."""
        callback = self._routes.get(sid)
        if callback is None:
            return
        try:
            if headers:
                callback(subject.decode(), reply.decode(), data, parse_headers(headers))
            else:
                callback(subject.decode(), reply.decode(), data, None)
        except UnicodeDecodeError:
            self.dropped += 1
        except Exception:
            self.dropped += 1
            log.exception("a subscription's callback failed; the message is dropped")

    def on_control(self, line: bytes) -> None:
        """Answer PING, note PONG, and pass on -ERR and INFO."""
        word = line[:4].upper()
        if word == b"PING":
            if self._standing:
                self.post(b"PONG\r\n")
        elif word == b"PONG":
            self._pongs_received += 1
            self._pings_outstanding = 0
            answer = self._answers.popleft() if self._answers else None
            if answer is not None and not answer.done():
                answer.set_result(None)
        elif word == b"-ERR":
            self._complaint = line[5:].decode("utf-8", "replace").strip(" '")
            self._observer.complained(self._complaint)
        elif word == b"INFO":
            self._renew(line[5:])
        elif word[:3] != b"+OK":
            raise MalformedProtocol("a line that is not of the protocol")

    def _renew(self, text: bytes) -> None:
        try:
            info = json.loads(text)
        except ValueError:
            raise MalformedProtocol("INFO is not JSON") from None
        self._server_info.update(info)
        self._max_payload = info.get("max_payload", self._max_payload)
        self._observer.informed(info)

    # Writing.

    def _turn(self) -> None:
        # Still due meanwhile, so that what is added now asks for no further turn.
        try:
            if self._standing:
                self._before_write()
                self._write()
        finally:
            self._due = False

    def _write(self) -> None:
        out = self._out
        if not out or self._stream is None:
            return
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self._out_size = 0
        if self._stream.wire is not None:
            self._stream.wire.write(data)
            self._behind = self._stream.wire.get_write_buffer_size()
        else:
            self._write_queued(data)

    def _write_queued(self, data: bytes) -> None:
        # A WebSocket's writes are awaited: nats-py's flusher does it.
        self._pending.append(data)
        self._pending_data_size += len(data)
        if self._flush_queue is not None and not self._flush_queue.full():
            self._flush_queue.put_nowait(self._loop.create_future())

    # What nats-py calls.

    async def _select_next_server(self) -> None:
        # One try, where nats-py would go on for minutes.
        server: Srv = self._server_pool[0]
        self._current_server = server
        await self._connect_to_server(server)

    def _connect_command(self) -> bytes:
        # The last moment before credentials are sent.
        assert self._current_server is not None
        wanted = self._current_server.uri.scheme in ("tls", "wss") or "tls" in self.options
        if wanted and not ServerStream.encrypted(self._transport):
            raise ConfigError("TLS was asked for and the server does not offer it")
        return bytes(super()._connect_command())

    async def _read_loop(self) -> None:
        await ServerStream.read_websocket(self._transport, self.receive, self.lose)

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        del future  # Only the ping timer comes here, and it does not wait.
        if self._standing:
            self._answers.append(None)
            self.post(b"PING\r\n")

    async def _process_op_err(self, e: Exception) -> None:
        self.lose(e)

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        del status, do_cbs
        await self.shut()


async def _ignore(error: Exception) -> None:
    """What nats-py reports while connecting is raised as well."""
    del error
