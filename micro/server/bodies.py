"""Compressed bodies of requests: expanded after admission, large ones off the event loop."""

from __future__ import annotations

import asyncio

from micro.concurrency.budget import process_budget
from micro.errors import ResourceExhausted
from micro.server.call import Call
from micro.wire.compression import CONTENT_ENCODING, EncodedBody, decompress, encoded_body

__all__ = ["Bodies", "EncodedBody", "encoded_body"]

_THREAD_FROM_BYTES = 8192
"""A compressed body of this size is expanded in a thread: the change of threads costs 0.1 ms, and
a body that is meant to harm expands a thousandfold, at 3 ms for each MiB."""

_MAX_EXPANSIONS = 2
"""Large bodies that are expanded at once; the others wait, within their deadlines."""

_RETRY_AFTER_SECONDS = 0.5


class Bodies:
    """Expands the bodies of one server's requests, a few large ones at a time.

    Args:
        service: The service's name, the `id` of its errors.
    """

    __slots__ = ("_service", "_turns")

    def __init__(self, service: str) -> None:
        self._service = service
        self._turns = asyncio.Semaphore(_MAX_EXPANSIONS)

    async def expand_request(self, call: Call) -> None:
        """Undo the content encoding of a call's body; the budget counts it until the call ends.

        Raises:
            ResourceExhausted: the process holds as many bytes as it may.
            MicroError: see `expand`.
        """
        whole = await self.expand(call.headers[CONTENT_ENCODING], call.body)
        if not process_budget().acquire(len(whole)):
            detail = f"{self._service} holds as many bytes as it may"
            raise ResourceExhausted(detail, id=self._service, retry_after=_RETRY_AFTER_SECONDS)
        call.held = len(whole)
        call.body = whole

    async def expand(self, encoding: str, body: bytes) -> bytes:
        """Undo a content encoding.

        Raises:
            BadRequest: the encoding is not known, or the bytes are not in it.
            PayloadTooLarge: the body expands to more than the limit.
        """
        headers = {CONTENT_ENCODING: encoding}
        if len(body) < _THREAD_FROM_BYTES:
            return decompress(headers, body)
        async with self._turns:
            return await asyncio.to_thread(decompress, headers, body)
