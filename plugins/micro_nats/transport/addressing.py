"""Checks that an address for a listener is free."""

from __future__ import annotations

import asyncio
import json

from micro.errors import Conflict
from micro_nats.connection.connection import Connection
from micro_nats.wire.envelope import CLOSE_FRAME

__all__ = ["AddressCheck"]

# A start waits this long only when a subscriber is there that does not answer.
_ANSWER_SECONDS = 0.1


class AddressCheck:
    """Asks at an address, with an empty message, who listens there."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def require_free(self, address: str, *, taken: bool = False) -> None:
        """Return when no listener answers within 0.1 s.

        A subscriber that does not answer, such as a monitoring tool, does not count, nor does one
        that answers with anything but a close frame.

        Raises:
            Conflict: a listener has the address, or a JetStream stream stores its subject.
        """
        if taken:
            raise Conflict(f"address {address!r} is taken")
        inbox = self._connection.inboxes.new()
        question = _Question()
        subscription = await self._connection.subscribe(inbox, question.on_message)
        try:
            # Without permission to publish there the check is skipped, and the start continues.
            if await self._connection.may_publish(address, inbox):
                await asyncio.wait([question.answer], timeout=_ANSWER_SECONDS)
        finally:
            subscription.unsubscribe()
        if question.taken:
            raise Conflict(f"address {address!r} is taken")
        if question.stream:
            raise Conflict(
                f"address {address!r} is a subject of the JetStream stream {question.stream!r}, "
                "which would store and answer every request"
            )


class _Question:
    """Collects answers until one decides."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.taken = False
        self.stream = ""

    def on_message(
        self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None
    ) -> None:
        del subject, reply
        no_one = headers is not None and not data and headers.get("Status") == "503"
        self.taken = self.taken or data == CLOSE_FRAME
        self.stream = self.stream or _stream_of(data)
        if (self.taken or no_one) and not self.answer.done():
            self.answer.set_result(None)


def _stream_of(data: bytes) -> str:
    """The stream in the receipt that JetStream sends for a message it stored; or nothing."""
    try:
        receipt = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(receipt, dict) or "seq" not in receipt:
        return ""
    return str(receipt.get("stream", ""))
