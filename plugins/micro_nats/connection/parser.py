"""Parses the server's half of the NATS protocol from bytes as they come.

One synchronous loop over whole messages: no task, queue or object stands between the socket and
the callback. See https://docs.nats.io/reference/reference-protocols/nats-protocol.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

__all__ = ["Handler", "MalformedProtocol", "Parser", "parse_headers"]

_MAX_LINE_BYTES = 1 << 20
_MAX_SIZE_DIGITS = 10
_STATUS_AT = len("NATS/1.0 ")


class MalformedProtocol(Exception):
    """Bytes that no NATS server sends; the connection cannot be used any more."""


class Handler(ABC):
    """What a Parser calls, in the order of the bytes."""

    @abstractmethod
    def on_message(
        self, sid: bytes, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        """Receive one message; `headers` is empty or the whole block. Never raises."""

    @abstractmethod
    def on_control(self, line: bytes) -> None:
        """Receive any other line: PING, PONG, +OK, -ERR or INFO.

        Raises:
            MalformedProtocol: it is none of them.
        """


class Parser:
    """Cuts a stream of bytes into messages and control lines."""

    __slots__ = ("_handler", "_have", "_need", "_parts")

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 0

    def feed(self, data: bytes) -> None:
        """Parse the next bytes, and pass on every item that they complete.

        Raises:
            MalformedProtocol: no server sends such bytes.
        """
        if self._parts:
            # Join a large message once, not with every piece of it.
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._parts)
            self._parts = []
        rest = self._cut(data)
        if rest < len(data):
            self._parts = [data[rest:] if rest else data]
            self._have = len(data) - rest

    def _cut(self, data: bytes) -> int:
        """Pass on every complete item; returns where the first incomplete one starts."""
        at, size = 0, len(data)
        find, startswith = data.find, data.startswith
        on_message = self._handler.on_message
        while at < size:
            end = find(b"\r\n", at)
            if end < 0:
                self._await_line(size - at)
                break
            if startswith(b"MSG ", at):
                # MSG <subject> <sid> [reply subject] <bytes of payload>
                words = data[at + 4 : end].split()
                start = end + 2
                stop = start + _number(words, 3)
                if stop + 2 > size:
                    self._need = stop + 2 - at
                    break
                reply = words[2] if len(words) == 4 else b""
                on_message(words[1], words[0], reply, data[start:stop], b"")
                at = stop + 2
            elif startswith(b"HMSG ", at):
                stop = self._headed(data, at, end)
                if stop < 0:
                    break
                at = stop
            else:
                self._handler.on_control(data[at:end])
                at = end + 2
        return at

    def _await_line(self, have: int) -> None:
        """Note that a line is incomplete; its length is not known yet."""
        if have > _MAX_LINE_BYTES:
            raise MalformedProtocol("a line without an end")
        self._need = 0

    def _headed(self, data: bytes, at: int, end: int) -> int:
        """Pass on the HMSG whose line is at `at`; returns its end, or -1 if it is incomplete."""
        # HMSG <subject> <sid> [reply subject] <bytes of headers> <bytes of headers and payload>
        words = data[at + 5 : end].split()
        start = end + 2
        stop = start + _number(words, 4)
        middle = start + _number(words[:-1], 3)
        if middle > stop:
            raise MalformedProtocol("headers longer than their message")
        if stop + 2 > len(data):
            self._need = stop + 2 - at
            return -1
        reply = words[2] if len(words) == 5 else b""
        self._handler.on_message(words[1], words[0], reply, data[middle:stop], data[start:middle])
        return stop + 2


def _number(words: list[bytes], least: int) -> int:
    """The last of `least` or one more words, as a size."""
    if not least <= len(words) <= least + 1 or not words[-1].isdigit():
        raise MalformedProtocol(f"a message line with {len(words)} words")
    if len(words[-1]) > _MAX_SIZE_DIGITS:
        raise MalformedProtocol(f"a size of {len(words[-1])} digits")
    return int(words[-1])


def parse_headers(block: bytes) -> dict[str, str]:
    """Read a header block; a status such as 503 becomes the entry `Status`.

    Malformed lines are ignored: any client of the server may have written them.
    """
    lines = block.split(b"\r\n")
    headers: dict[str, str] = {}
    status = lines[0][_STATUS_AT : _STATUS_AT + 3]
    if status.isdigit():
        headers["Status"] = status.decode()
        if description := lines[0][_STATUS_AT + 3 :].strip():
            headers["Description"] = description.decode("utf-8", "replace")
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if colon and name.isascii():
            headers[name.strip().decode()] = value.strip().decode("utf-8", "replace")
    return headers
