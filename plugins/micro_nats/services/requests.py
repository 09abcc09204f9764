"""Plain NATS requests to endpoints, as frames of one socket of the server.

A request is a bare body with NATS headers, and so is its answer; an error is told in the headers
`Nats-Service-Error` and `Nats-Service-Error-Code` (NATS ADR-32).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count

from micro.errors import MicroError, PayloadTooLarge, SocketClosed
from micro.message import Message
from micro.transport.contract import Accept, Socket
from micro_nats.connection.connection import Connection
from micro_nats.connection.headers import format_headers

__all__ = ["PlainRequests"]

MAX_OPEN = 16_384
"""Requests whose answers are awaited; one more is answered 429."""

_ENDPOINT = "Micro-Endpoint"
_ID = "Micro-Id"
_ERROR = "Micro-Error"
_CONTENT_TYPE = "Content-Type"
_OURS = "micro-"
_SIGNAL = "Micro-Signal"


class PlainRequests(Socket):
    """A socket whose peer is everyone who sends plain requests.

    Args:
        connection: Where requests come from.
        accept: Gives the server's end.
        local: The address of this node.
    """

    __slots__ = ("_closed", "_connection", "_ids", "_local", "_receiver", "_replies")

    def __init__(self, connection: Connection, accept: Accept, local: str) -> None:
        self._connection = connection
        self._local = local
        self._ids = count(1)
        self._replies: dict[str, str] = {}
        self._closed = False
        self._receiver = accept(self)

    @property
    def local(self) -> str:
        """The address of the node."""
        return self._local

    @property
    def remote(self) -> str:
        """A name for all peers together."""
        return "plain NATS requests"

    def request(
        self, endpoint: str, reply: str, body: bytes, headers: Mapping[str, str] | None
    ) -> None:
        """Hand one request to the server; one without a reply subject is ignored."""
        if not reply or self._closed:
            return
        if len(self._replies) >= MAX_OPEN:
            self._refuse(reply, 429, f"{MAX_OPEN} requests wait for their answers")
            return
        id = str(next(self._ids))
        self._replies[id] = reply
        frame = {
            _CONTENT_TYPE: "application/json",
            # A caller's headers must not steer the socket that all callers share.
            **{name: value for name, value in (headers or {}).items() if _is_theirs(name)},
            _ENDPOINT: endpoint,
            _ID: id,
        }
        self._receiver.received([Message(frame, body)])

    def send(self, message: Message) -> int:
        """Send an answer; see `Socket.send`."""
        if self._closed:
            raise SocketClosed("the service takes no plain requests any more")
        headers, body = message
        if _SIGNAL in headers:
            return 0
        reply = self._replies.get(headers.get(_ID, ""))
        if reply is None:
            return 0
        if _ERROR in headers:
            code, text = _read_error(headers[_ERROR])
            self._refuse(reply, code, text)
        else:
            self._answer(reply, headers, body)
        del self._replies[headers[_ID]]
        return 0

    async def drain(self) -> None:
        """Wait while more waits to be sent than is healthy."""
        await self._connection.wait_writable()

    def close(self) -> None:
        """End the socket: calls that run for it are cancelled."""
        if not self._closed:
            self._closed = True
            self._replies.clear()
            self._receiver.closed(SocketClosed("the service takes no plain requests any more"))

    def _answer(self, reply: str, headers: Mapping[str, str], body: bytes) -> None:
        sent = {name: value for name, value in headers.items() if _is_theirs(name)}
        block = format_headers(sent) if sent else b""
        size = len(block) + len(body)
        if size > self._connection.max_payload:
            limit = self._connection.max_payload
            raise PayloadTooLarge(f"a reply of {size} bytes; the server's limit is {limit}")
        self._connection.publish_now(reply, "", body, block)

    def _refuse(self, reply: str, code: int, text: str) -> None:
        headers = {
            "Nats-Service-Error": " ".join(text.split()) or "error",
            "Nats-Service-Error-Code": str(code),
        }
        self._connection.publish_now(reply, "", b"", format_headers(headers))


def _is_theirs(name: str) -> bool:
    """Whether a header belongs to the caller or the handler, not to a protocol."""
    lower = name.lower()
    return not lower.startswith((_OURS, "nats-")) and lower not in ("accept", "accept-encoding")


def _read_error(text: str) -> tuple[int, str]:
    """The code and the text of go-micro's error body."""
    try:
        error = json.loads(text)
        return int(error["code"]), str(error.get("detail") or error.get("status") or "error")
    except (ValueError, KeyError, TypeError):
        unknown = MicroError(text)
        return unknown.code, text
