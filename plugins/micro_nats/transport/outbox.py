"""Writes what the sockets of one connection send: one write a turn of the event loop."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context

from micro.errors import ConnectionLost, ResourceExhausted, TransportError
from micro_nats.connection.connection import Connection, Observer
from micro_nats.counters import LogLimit
from micro_nats.transport.inbound import InboundScheduler
from micro_nats.wire.envelope import CLOSE_FRAME

__all__ = ["MAX_WAITING_BYTES", "Outbox", "Sender"]

# Below the link's own bound of 64 MiB, so that sockets refuse first.
MAX_WAITING_BYTES = 60 << 20
_TURN_BYTES = 64 << 10
# What an envelope adds to a message, and the protocol line before it.
_ENVELOPE_BYTES = 512


class Sender(ABC):
    """A socket that has messages to send."""

    __slots__ = ()

    @abstractmethod
    def post(self) -> None:
        """Put what waits into the outbox."""


class Outbox(Observer):
    """What the sockets of one connection send in a turn.

    Attributes:
        connection: Where it is sent.
        limit: Bytes that one message may have with its envelope.
        waiting: Bytes that wait to be sent, as far as known.
        clock: Counts the sweeps for idle sockets: a clock that costs nothing to read.
        inbound: Where what arrives for the sockets waits for its turn.
        log_limit: Bounds the log lines of the sockets.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.waiting = 0
        self.clock = 0
        self.inbound = InboundScheduler()
        self.log_limit = LogLimit()
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._senders: list[Sender] = []
        self._out: list[bytes] = []
        self._out_size = 0
        self._due = False
        self.limit = connection.max_payload - _ENVELOPE_BYTES
        connection.observe(self)

    def touch(self, sender: Sender) -> None:
        """Have the sender's messages sent at the end of this turn."""
        self._senders.append(sender)
        if not self._due:
            self._schedule()

    def put(self, subject: str, reply: str, payload: bytes) -> None:
        """Send a NATS message at the end of this turn; a lost connection drops it."""
        frame = b"%b%b\r\n" % (f"PUB {subject} {reply} {len(payload)}\r\n".encode(), payload)
        self._out.append(frame)
        self._out_size += len(frame)
        if self._out_size > _TURN_BYTES:
            self._write()
        elif not self._due:
            self._schedule()

    def put_close(self, subject: str, reply: str = "") -> None:
        """Send a close frame."""
        self.put(subject, reply, CLOSE_FRAME)

    def flush(self) -> None:
        """Send all that waits, now."""
        # A sender may touch another one while it posts, so the list is read until it stays empty.
        while self._senders:
            senders, self._senders = self._senders, []
            for sender in senders:
                sender.post()
        self._write()
        self.waiting = self.connection.buffered

    def check_capacity(self) -> None:
        """Check that more may wait.

        Raises:
            ResourceExhausted: 60 MiB wait to be sent.
        """
        self.flush()
        if self.waiting > MAX_WAITING_BYTES:
            raise ResourceExhausted(f"{self.waiting} bytes wait to be sent", refused=True)

    def call_soon(self, callback: Callable[[TransportError], None], error: TransportError) -> None:
        """Call back on a later turn, after what is due, outside the caller's context."""
        self._loop.call_soon(callback, error, context=self._context)

    def on_lost(self, error: ConnectionLost) -> None:
        """Drop what waits: nothing is sent late."""
        del error
        self._senders.clear()
        self._out.clear()
        self._out_size = 0

    def on_restored(self) -> None:
        """Read the limit again: the new server may have another."""
        self.limit = self.connection.max_payload - _ENVELOPE_BYTES

    def _schedule(self) -> None:
        self._due = True
        self._loop.call_soon(self._turn, context=self._context)

    def _turn(self) -> None:
        self._due = False
        self.flush()

    def _write(self) -> None:
        out = self._out
        if not out:
            return
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self._out_size = 0
        # A socket learns of a lost connection through its own `end`.
        with suppress(ConnectionLost):
            self.connection.write(data)
