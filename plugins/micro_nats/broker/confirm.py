"""Publishing with a check that someone is subscribed.

NATS answers a message that names a reply subject and matches no subscription: "no responders". It
answers in order, so after a round trip the publisher knows. The server's word covers the cluster;
a stream that stores the topic counts as a subscriber.
"""

from __future__ import annotations

import asyncio
from itertools import count

from micro.concurrency.once import Once
from micro.errors import DeadlineExceeded, NoSubscribers
from micro_nats.connection.connection import Connection
from micro_nats.tokens import short_token

__all__ = ["ConfirmedPublisher"]


class ConfirmedPublisher:
    """Publishes messages that ask the server whether anyone is subscribed.

    Args:
        connection: The connection.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._prefix = f"{connection.inboxes.new()}."
        self._numbers = count()
        self._unheard: dict[str, bool] = {}
        self._listen = Once(self._subscribe)

    async def publish(self, topic: str, payload: bytes, headers: bytes) -> None:
        """Publish; return when the server has it and at least one subscription matched.

        Raises:
            NoSubscribers: none matched; the message reached no one.
            DeadlineExceeded: the server did not answer within the connect timeout.
            ConnectionLost: the connection broke; the message may have arrived.
        """
        await self._listen()
        token = short_token(next(self._numbers))
        self._unheard[token] = False
        try:
            self._connection.publish_now(topic, self._prefix + token, payload, headers)
            await self._flush(topic)
            if self._unheard[token]:
                raise NoSubscribers(f"no one is subscribed to {topic!r}")
        finally:
            del self._unheard[token]

    async def _flush(self, topic: str) -> None:
        timeout = self._connection.connect_timeout
        try:
            async with asyncio.timeout(timeout) as bound:
                await self._connection.flush()
        except TimeoutError:
            if not bound.expired():
                raise
            text = f"an event of {topic!r} was not confirmed within {timeout:g}s"
            raise DeadlineExceeded(text, id="micro.nats") from None

    async def _subscribe(self) -> None:
        await self._connection.subscribe(f"{self._prefix}*", self._receive)

    def _receive(
        self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None
    ) -> None:
        del reply
        token = subject[len(self._prefix) :]
        if token in self._unheard and not data and headers and headers.get("Status") == "503":
            self._unheard[token] = True
