"""The subscriptions of a connection, kept from one link to the next."""

from __future__ import annotations

import asyncio
import logging
from itertools import count

from micro.errors import ConnectionLost, Forbidden
from micro_nats.connection.link import NO_CONNECTION, Callback, NatsLink, Routes

__all__ = ["RETRY_DENIED_SECONDS", "Subscription", "Subscriptions"]

log = logging.getLogger("micro.nats")

RETRY_DENIED_SECONDS = 3.0


class Subscription:
    """One subject that this process listens to, through every reconnection.

    Attributes:
        subject: The subject or pattern.
        active: Whether the server has confirmed it once.
        denied: What the server said when it refused it; empty if it did not.
        retrying: Whether it was asked for again, and no answer has come.
        optional: Whether the service is in order without it.
    """

    __slots__ = ("_table", "active", "command", "denied", "optional", "retrying", "sid", "subject")

    def __init__(
        self, table: Subscriptions, sid: bytes, subject: str, queue: str, *, optional: bool
    ) -> None:
        self._table = table
        self.sid = sid
        self.subject = subject
        self.command = f"SUB {subject} {queue} ".encode() + sid + b"\r\n"
        self.active = False
        self.denied = ""
        self.retrying = False
        self.optional = optional

    async def drain(self) -> None:
        """Stop the intake; returns when every message that was routed here has been received.

        When the connection breaks first, nothing more can come and it returns as well.
        """
        await self._table.drain(self)

    def unsubscribe(self) -> None:
        """End it at once; a second call does nothing."""
        self._table.remove(self)


class Subscriptions:
    """All subscriptions of one connection.

    Attributes:
        routes: The callbacks by subscription id, for links.
        link: The present link; the Connection sets it.
    """

    def __init__(self) -> None:
        self.routes: Routes = {}
        self.link: NatsLink | None = None
        self._known: dict[bytes, Subscription] = {}
        self._numbers = count(1)
        self._retry: asyncio.TimerHandle | None = None

    async def add(
        self, subject: str, callback: Callback, queue: str, *, optional: bool = False
    ) -> Subscription:
        """Subscribe; see `Connection.subscribe`.

        Raises:
            ConnectionLost: there is no connection.
            Forbidden: the server does not allow it.
        """
        link = self.link
        if link is None:
            raise ConnectionLost(NO_CONNECTION)
        sid = b"m%d" % next(self._numbers)
        subscription = Subscription(self, sid, subject, queue, optional=optional)
        self._known[subscription.sid] = subscription
        self.routes[subscription.sid] = callback
        try:
            link.post(subscription.command)
            # The server works in order: its -ERR for a refused SUB comes before this PONG.
            await link.ping()
            if subscription.denied:
                raise Forbidden(f"the NATS server says: {subscription.denied}")
        except BaseException:
            self.remove(subscription)
            raise
        subscription.active = True
        return subscription

    def restore(self, link: NatsLink) -> None:
        """Subscribe to everything on a new link, in one write, before it is used.

        The server reads a connection in order, so what this process publishes after a loss
        reaches its own subscribers.

        Raises:
            ConnectionLost: the link broke.
        """
        for subscription in self._known.values():
            subscription.denied = ""
        link.write(b"".join([subscription.command for subscription in self._known.values()]))

    async def drain(self, subscription: Subscription) -> None:
        """See `Subscription.drain`."""
        sid = subscription.sid
        if self._known.pop(sid, None) is None:
            return
        try:
            if self.link is not None:
                self.link.post(b"UNSUB " + sid + b"\r\n")
                # After the PONG no message for this subscription can follow.
                await self.link.ping()
        except ConnectionLost as lost:
            log.debug("a subscription ended with its connection: %s", lost)
        finally:
            self.routes.pop(sid, None)

    def remove(self, subscription: Subscription) -> None:
        """See `Subscription.unsubscribe`."""
        sid = subscription.sid
        self.routes.pop(sid, None)
        if self._known.pop(sid, None) is not None and self.link is not None:
            self.link.post(b"UNSUB " + sid + b"\r\n")

    def deny(self, subject: str, text: str) -> None:
        """Note that the server refused a subscription, or revoked its permission."""
        for subscription in self._known.values():
            if subscription.subject == subject:
                subscription.denied = text
                subscription.retrying = False
                # The permission may come back, and the server does not say when.
                if subscription.active and self._retry is None:
                    loop = asyncio.get_running_loop()
                    self._retry = loop.call_later(RETRY_DENIED_SECONDS, self._retry_denied)

    def is_optional(self, subject: str) -> bool:
        """Whether all subscriptions to a subject are optional."""
        known = [each.optional for each in self._known.values() if each.subject == subject]
        return bool(known) and all(known)

    def check(self) -> None:
        """Check that the server accepts every subscription.

        Raises:
            Forbidden: it refuses one that it accepted before.
        """
        for subscription in self._known.values():
            if subscription.active and subscription.denied and not subscription.optional:
                raise Forbidden(f"the NATS server says: {subscription.denied}")

    def close(self) -> None:
        """Stop the retries of refused subscriptions."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _retry_denied(self) -> None:
        self._retry = None
        if self.link is None:
            return
        for subscription in self._known.values():
            if subscription.active and subscription.denied:
                subscription.retrying = True
                self.link.post(subscription.command)
        # It stays denied until the answer: a check must not find it in order in the meantime.
        self.link.ping().add_done_callback(self._confirm)

    def _confirm(self, answer: asyncio.Future[None]) -> None:
        if answer.cancelled() or answer.exception() is not None:
            return
        for subscription in self._known.values():
            if subscription.retrying:
                subscription.retrying = False
                subscription.denied = ""
