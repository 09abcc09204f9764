"""Replies in go-micro's oldest dialects."""

from __future__ import annotations

from micro.concurrency.budget import ByteBudget
from micro.errors import MicroError
from micro.message import Message
from micro.server.answers import send_error
from micro.server.call import Call, Replies
from micro.wire.legacy import Legacy

__all__ = ["LegacyReplies"]


class LegacyReplies(Replies):
    """Replies in one of go-micro's oldest dialects, over the same socket.

    Args:
        replies: The socket's own replies.
        legacy: The dialect.
        service: The service's name, the `id` of errors.
    """

    __slots__ = ("_legacy", "_replies", "_service", "calls", "delay", "in_process", "remote")

    def __init__(self, replies: Replies, legacy: Legacy, service: str) -> None:
        self.calls: dict[str, Call] = replies.calls
        self.remote: str = replies.remote
        self.delay: float = replies.delay
        self.in_process: bool = replies.in_process
        self._replies = replies
        self._service = service
        self._legacy = legacy

    def send(self, message: Message) -> None:
        """Send a frame in the envelope of the dialect."""
        self._replies.send(self._legacy.reply(message))

    async def send_large(self, call: Call, message: Message) -> None:
        """The same: these dialects know neither compression nor chunks."""
        await self._replies.send_large(call, self._legacy.reply(message))

    @property
    def budget(self) -> ByteBudget:
        """The bytes that this client's streams may hold."""
        return self._replies.budget

    async def drain(self) -> None:
        """Wait while more waits to be sent than is healthy."""
        await self._replies.drain()

    def refuse(self, headers: dict[str, str], error: MicroError) -> None:
        """Answer a request with an error, in the envelope of the dialect."""
        send_error(self.send, headers, error, self._service)

    def finish(self, call: Call) -> None:
        """A call has ended."""
        self._replies.finish(call)
