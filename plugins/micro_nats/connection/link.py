"""One connection to one server: whole messages in, bytes of the protocol out.

Bytes are read and written in order, without a task, a queue or an object for each message. No
message that arrives can stop the reading. A link that broke stays broken; the Connection opens the
next one.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import copy_context

from micro.errors import ConnectionLost, PayloadTooLarge, ResourceExhausted
from micro_nats.connection.byte_stream import HIGH_WATER_BYTES
from micro_nats.connection.handshake import Greeting
from micro_nats.connection.liveness import Liveness
from micro_nats.connection.observer import Observer
from micro_nats.connection.parser import Handler, MalformedProtocol, Parser, parse_headers
from micro_nats.counters import LogLimit

__all__ = ["MAX_BUFFERED_BYTES", "NO_CONNECTION", "Callback", "NatsLink", "Routes"]

Callback = Callable[[str, str, bytes, dict[str, str] | None], None]
"""Takes subject, reply subject, payload and headers; returns at once."""

Routes = dict[bytes, Callback]
"""Subscription ids to callbacks; the Connection keeps them from one link to the next."""

MAX_BUFFERED_BYTES = 64 << 20
NO_CONNECTION = "no connection to the NATS server"
# A turn that posts more is written in parts: the server reads while the turn continues.
_TURN_BYTES = 64 << 10
_CLOSE_SECONDS = 2.0


class NatsLink(Handler):
    """An open connection to one server.

    Args:
        greeting: What the handshake handed over.
        routes: Where messages go, by subscription id.
        observer: Told of `on_lost` once, and of `on_error` and `on_info`.
        ping_interval: Seconds between pings.
        max_outstanding_pings: Pings that may be unanswered before the link is given up.

    Attributes:
        connected: Whether the link is up, as far as it knows.
        info: What the server last said of itself.
        max_payload: The server's limit for headers and payload of one message, in bytes.
        liveness: The pings; knows how long what arrives may have waited.
    """

    def __init__(
        self,
        greeting: Greeting,
        routes: Routes,
        observer: Observer,
        *,
        ping_interval: float,
        max_outstanding_pings: int,
    ) -> None:
        self.connected = True
        self.info = greeting.info
        self.max_payload: int = greeting.info.get("max_payload", 1 << 20)
        self._loop = asyncio.get_running_loop()
        # Else a turn would run in the context of the call that posted first, with its deadline.
        self._context = copy_context()
        self._stream = greeting.stream
        self._routes = routes
        self._observer = observer
        self._parser = Parser(self)
        self._answers: deque[asyncio.Future[None] | None] = deque()
        self._out: list[bytes] = []
        self._out_size = 0
        self._behind = 0
        self._due = False
        self._error = ""
        self._log_limit = LogLimit()
        self.liveness = Liveness(
            self._ping, self.fail, interval=ping_interval, max_outstanding=max_outstanding_pings
        )

    def start(self) -> None:
        """Begin to read."""
        self._stream.start(self.receive, self.fail)

    @property
    def buffered(self) -> int:
        """Bytes that wait to be sent."""
        return self._stream.buffered + self._out_size

    # Sending.

    def publish(self, subject: str, reply: str, payload: bytes, headers: bytes = b"") -> None:
        """Send a message within this turn of the event loop.

        Args:
            subject: Where to; the caller has checked that it has no blanks.
            reply: Where answers go; empty for none.
            payload: The message.
            headers: A whole NATS header block, or nothing.

        Raises:
            ConnectionLost: the link broke; nothing is kept to be sent later.
            PayloadTooLarge: headers and payload are over the server's limit.
            ResourceExhausted: 64 MiB wait to be sent already.
        """
        size = len(payload) + len(headers)
        if size > self.max_payload:
            raise PayloadTooLarge(f"{size} bytes are over the server's limit {self.max_payload}")
        # `_behind` is of the last write and costs nothing; `buffered` asks the event loop.
        waiting = self._behind + self._out_size
        if waiting > MAX_BUFFERED_BYTES and self.buffered > MAX_BUFFERED_BYTES:
            raise ResourceExhausted(f"{MAX_BUFFERED_BYTES} bytes wait to be sent", refused=True)
        if headers:
            line = f"HPUB {subject} {reply} {len(headers)} {size}\r\n"
            self.post(b"%b%b%b\r\n" % (line.encode(), headers, payload))
        else:
            self.post(b"%b%b\r\n" % (f"PUB {subject} {reply} {size}\r\n".encode(), payload))

    def post(self, data: bytes) -> None:
        """Send bytes of the protocol within this turn, in the order posted.

        Raises:
            ConnectionLost: the link broke.
        """
        if not self.connected:
            raise ConnectionLost(NO_CONNECTION)
        self._out.append(data)
        self._out_size += len(data)
        if self._out_size > _TURN_BYTES:
            self._write()
        elif not self._due:
            self._due = True
            self._loop.call_soon(self._turn, context=self._context)

    def write(self, data: bytes) -> None:
        """Send bytes of the protocol now, after what was posted.

        Raises:
            ConnectionLost: the link broke.
        """
        if not self.connected:
            raise ConnectionLost(NO_CONNECTION)
        if data:
            self._out.append(data)
        self._write()

    def ping(self) -> asyncio.Future[None]:
        """Ask for an answer; it comes after the server has read all that was sent before.

        Returns:
            A future that fails with ConnectionLost when the link breaks first. Waiting for it may
            be cancelled: a late answer does no harm.
        """
        answer: asyncio.Future[None] = self._loop.create_future()
        if self.connected:
            self._answers.append(answer)
            self.write(b"PING\r\n")
        else:
            answer.set_exception(ConnectionLost(NO_CONNECTION))
        return answer

    async def wait_writable(self) -> None:
        """Wait while more than 8 MiB wait to be sent.

        Raises:
            ConnectionLost: the link broke first.
        """
        if self._behind + self._out_size > HIGH_WATER_BYTES:
            await self._stream.wait_writable()
        if not self.connected:
            raise ConnectionLost(NO_CONNECTION)

    # The end.

    def fail(self, error: Exception) -> None:
        """Give the link up; every ping that waits for its answer fails now."""
        if not self.connected:
            return
        self._shut()
        self._stream.abort()
        reason = self._error or str(error) or type(error).__name__
        while self._answers:
            answer = self._answers.popleft()
            if answer is not None and not answer.done():
                answer.set_exception(ConnectionLost(f"the NATS connection broke: {reason}"))
                # Marks the error as seen: the task that pinged may have been cancelled.
                answer.exception()
        self._observer.on_lost(ConnectionLost(f"the NATS connection broke: {reason}"))

    async def aclose(self, *, abort: bool = False) -> None:
        """Close the link: after all that was posted, within 2 s, or at once with `abort`."""
        if self.connected and not abort:
            self._write()
        self._shut()
        await self._stream.close(0.0 if abort else _CLOSE_SECONDS)

    def _shut(self) -> None:
        self.connected = False
        self.liveness.close()
        self._out.clear()
        self._out_size = 0

    # Receiving.

    def receive(self, data: bytes) -> None:
        """Read bytes of the server."""
        self.liveness.received()
        try:
            self._parser.feed(data)
        except MalformedProtocol as error:
            self.fail(error)

    def on_message(
        self, sid: bytes, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        """Hand a message to its subscription; after a faulty one the next one is read."""
        callback = self._routes.get(sid)
        if callback is None:
            return
        try:
            if headers:
                callback(subject.decode(), reply.decode(), data, parse_headers(headers))
            else:
                callback(subject.decode(), reply.decode(), data, None)
        except UnicodeDecodeError:
            self._log_limit.warning("subject", "dropped a message whose subject is not UTF-8")
        except Exception:
            self._log_limit.exception("callback", "a subscription's callback failed")

    def on_control(self, line: bytes) -> None:
        """Answer PING, note PONG, and pass on -ERR and INFO."""
        verb = line[:4].upper()
        if verb == b"PING":
            # The server closes a connection that leaves its pings unanswered.
            if self.connected:
                self.post(b"PONG\r\n")
        elif verb == b"PONG":
            self.liveness.answered()
            # The server answers in order, so this PONG belongs to the oldest PING.
            answer = self._answers.popleft() if self._answers else None
            if answer is not None and not answer.done():
                answer.set_result(None)
        elif verb == b"-ERR":
            # Most errors are followed by a close; the text is then the reason of the loss.
            self._error = line[5:].decode("utf-8", "replace").strip(" '")
            self._observer.on_error(self._error)
        elif verb == b"INFO":
            self._update_info(line[5:])
        elif verb[:3] != b"+OK":
            raise MalformedProtocol("a line that is not of the protocol")

    def _update_info(self, text: bytes) -> None:
        try:
            info: Mapping[str, object] = json.loads(text)
        except ValueError:
            raise MalformedProtocol("INFO is not JSON") from None
        self.info.update(info)
        self.max_payload = self.info.get("max_payload", self.max_payload)
        self._observer.on_info(info)

    # Writing.

    def _ping(self) -> None:
        if self.connected:
            # Holds the place of a PONG that no one waits for.
            self._answers.append(None)
            self.post(b"PING\r\n")

    def _turn(self) -> None:
        self._due = False
        if self.connected:
            self._write()

    def _write(self) -> None:
        out = self._out
        if not out:
            return
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self._out_size = 0
        self._behind = self._stream.write(data)
