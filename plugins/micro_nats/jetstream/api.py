"""Requests to JetStream's API: JSON in, JSON out, errors as ours.

Nothing is sent before the first request: a service that keeps nothing never meets JetStream.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Mapping
from typing import Any

from micro.deadline import current_deadline
from micro.errors import CodecError, NoResponders, NotFound, Unavailable, Unsupported
from micro_nats.connection.connection import Connection
from micro_nats.connection.requests import Requests
from micro_nats.jetstream.errors import NO_JETSTREAM, read_error

__all__ = ["Answer", "JetStreamApi"]

Answer = dict[str, Any]
"""An answer of the API: parsed JSON, whose shape depends on the request."""

_TIMEOUT_SECONDS = 5.0
# While a leader is elected no one answers (ADR-22). Each try waits 200 to 300 ms.
_TRIES = 3
_RETRY_SECONDS = 0.25
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class JetStreamApi:
    """JetStream's API on one connection.

    Args:
        connection: The connection; it outlives this object.
        requests: Requests on it.

    Attributes:
        prefix: What the subjects of the API begin with.
    """

    def __init__(self, connection: Connection, requests: Requests) -> None:
        self._connection = connection
        self._requests = requests
        self._version = 0, 0
        self.prefix = connection.settings.api_prefix

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor version of the connected server, or of the last one."""
        found = _VERSION.match(str(self._connection.info.get("version", "")))
        if found:
            self._version = int(found[1]), int(found[2])
        return self._version

    @property
    def clustered(self) -> bool:
        """Whether the connected server is one of a cluster."""
        return bool(self._connection.info.get("cluster"))

    def require(self, version: tuple[int, int], what: str) -> None:
        """Check that the server is new enough.

        Raises:
            Unsupported: it is older; the text names the version that is needed.
        """
        if self.version < version:
            have, need = (".".join(map(str, each)) for each in (self.version, version))
            raise Unsupported(f"{what} needs nats-server {need}; this one is {have}")

    async def request(
        self, subject: str, body: Mapping[str, object] | None = None, *, doing: str
    ) -> Answer:
        """Ask the API, at most 5 s, and less where the running handler has less time.

        Args:
            subject: Without the prefix, as `STREAM.INFO.orders`.
            body: The request; nothing for an empty one.
            doing: What is done, for errors.

        Raises:
            NotFound, Conflict, Unsupported, QueueFull, BadRequest: the server's answer.
            Unavailable: no one answers: JetStream is off, or it has no leader now.
            Forbidden: this user may not ask.
            DeadlineExceeded, ConnectionLost: no answer; what was asked may have been done.
        """
        data = json.dumps(body).encode() if body is not None else b""
        message = await self._ask(f"{self.prefix}.{subject}", data)
        try:
            answer = json.loads(message)
        except ValueError:
            raise CodecError(f"{doing}: the answer of JetStream is not JSON") from None
        if isinstance(answer, dict) and "error" not in answer:
            return answer
        error = answer.get("error") if isinstance(answer, dict) else None
        raise read_error(error if isinstance(error, dict) else {}, doing)

    async def exists(self, stream: str) -> bool:
        """Whether there is a stream of this name.

        Raises:
            Unavailable, Forbidden, DeadlineExceeded, ConnectionLost: see `request`.
        """
        try:
            await self.request(f"STREAM.INFO.{stream}", doing=f"looking at the stream {stream!r}")
        except NotFound:
            return False
        return True

    async def _ask(self, subject: str, data: bytes) -> bytes:
        await self._connection.wait_connected(self._connection.connect_timeout)
        for left in reversed(range(_TRIES)):
            try:
                answer = await self._requests.request(subject, data, timeout=_timeout())
                return answer.payload
            except NoResponders as error:
                if not self._connection.info.get("jetstream") and not self.clustered:
                    raise Unavailable(NO_JETSTREAM, refused=True) from error
                if not left:
                    raise Unavailable(
                        f"JetStream does not answer at {subject!r}: {NO_JETSTREAM}", refused=True
                    ) from error
            await asyncio.sleep(_RETRY_SECONDS * random.uniform(0.8, 1.2))
        raise AssertionError("the last try returns or raises")


def _timeout() -> float:
    deadline = current_deadline()
    if deadline is None:
        return _TIMEOUT_SECONDS
    return max(0.0, min(_TIMEOUT_SECONDS, deadline.remaining()))
