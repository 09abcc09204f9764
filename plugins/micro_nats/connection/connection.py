"""One connection to a NATS cluster that is never given up while it is open."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from micro.backend import BackendOptions, ConnectionEvent, ConnectionState
from micro.errors import ConnectionLost, Forbidden
from micro.scope import open_scope
from micro_nats.connection.link import Callback, HardenedClient, Observer, Routes
from micro_nats.connection.options import read_settings
from micro_nats.connection.reconnect import Dialer
from micro_nats.tokens import fresh_token

__all__ = ["Connection", "Subscription", "open_connection"]

log = logging.getLogger("micro.nats")

_CHECK_SECONDS = 2.0
_LEAVE_SECONDS = 1.0
_ASK_AGAIN_SECONDS = 3.0


class Subscription:
    """One subject that this process listens to, through every reconnection."""

    __slots__ = ("_connection", "denied", "queue", "sid", "standing", "subject", "waits")

    def __init__(self, connection: Connection, sid: bytes, subject: str, queue: str) -> None:
        self._connection = connection
        self.sid = sid
        self.subject = subject
        self.queue = queue
        self.standing = False
        self.waits = False
        self.denied = ""

    @property
    def command(self) -> bytes:
        """What asks the server for it."""
        return f"SUB {self.subject} {self.queue} ".encode() + self.sid + b"\r\n"

    async def drain(self) -> None:
        """Stop the intake; returns when every message that was routed here has been taken.

        When the connection breaks meanwhile, nothing more can come and it returns as well.
        """
        await self._connection.drain_subscription(self)

    def unsubscribe(self) -> None:
        """End it at once; a second call does nothing."""
        self._connection.end_subscription(self)


class Connection(Observer):
    """Publishes and subscribes; reconnects and subscribes again. Open it with `open_connection`.

    Attributes:
        inbox: A subject prefix that is this connection's own and cannot be guessed.
        on_lost: Called with the reason, at once, each time the connection breaks.
        on_restored: Called each time it stands again, with every subscription in place.
        on_denied: Called with a subject that the server refuses to publish to.
        before_write: Called before a turn's bytes are written; see `schedule`.
    """

    def __init__(self, options: BackendOptions) -> None:
        self._settings = read_settings(options)
        self._dialer = Dialer(self._settings, self._client_for)
        self._options = options
        self._client: HardenedClient | None = None
        self._routes: Routes = {}
        self._subscriptions: dict[bytes, Subscription] = {}
        self._sids = count(1)
        self._stands = asyncio.Event()
        self._broken = asyncio.Event()
        self._closing = False
        self.inbox = f"{self._settings.inbox_prefix}.{fresh_token()}"
        self.on_lost: list[Callable[[ConnectionLost], None]] = []
        self.on_restored: list[Callable[[], None]] = []
        self.on_denied: list[Callable[[str], None]] = []
        self.before_write: list[Callable[[], None]] = []

    # State.

    @property
    def connected(self) -> bool:
        """Whether the connection stands, as far as anybody knows."""
        return self._client is not None

    @property
    def max_payload(self) -> int:
        """The server's limit for one message's headers and payload, in bytes."""
        return self._client.max_payload if self._client is not None else 1 << 20

    @property
    def connect_timeout(self) -> float:
        """Seconds that a first connection, and a wait for a lost one, may take."""
        return self._options.connect_timeout

    @property
    def inbox_prefix(self) -> str:
        """What inboxes begin with, `_INBOX` unless set otherwise."""
        return self._settings.inbox_prefix

    async def wait_connected(self, timeout: float) -> None:
        """Wait until the connection stands.

        Raises:
            ConnectionLost: it did not within `timeout` seconds, or is closed.
        """
        if self._client is not None:
            return
        try:
            async with asyncio.timeout(0.0 if self._closing else timeout) as bound:
                await self._stands.wait()
        except TimeoutError:
            if not bound.expired():
                raise
            raise ConnectionLost(f"no connection to the NATS server for {timeout} s") from None

    async def check(self) -> None:
        """Make a round trip to the server.

        Raises:
            ConnectionLost: there is no connection, or no answer within two seconds.
            Forbidden: the server has taken the permission for a subscription back.
        """
        try:
            async with asyncio.timeout(_CHECK_SECONDS) as bound:
                await self.flush()
        except TimeoutError:
            if not bound.expired():
                raise
            raise ConnectionLost(f"no answer from the NATS server in {_CHECK_SECONDS} s") from None
        for subscription in self._subscriptions.values():
            if subscription.standing and subscription.denied:
                raise Forbidden(f"the NATS server says: {subscription.denied}")

    # Sending.

    def publish_now(self, subject: str, reply: str, payload: bytes, headers: bytes = b"") -> None:
        """Send a message within this turn of the event loop; see HardenedClient.

        Raises:
            ConnectionLost: there is no connection; nothing is kept to be sent late.
            PayloadTooLarge: it is over the server's limit.
            ResourceExhausted: too much waits to be sent already.
        """
        if self._client is None:
            raise ConnectionLost("no connection to the NATS server")
        self._client.publish_now(subject, reply, payload, headers)

    def put(self, subject: str, reply: str, payload: bytes) -> None:
        """Send a message as `publish_now` does, its size and number bounded by the caller.

        Raises:
            ConnectionLost: there is no connection.
        """
        if self._client is None:
            raise ConnectionLost("no connection to the NATS server")
        self._client.put(subject, reply, payload)

    @property
    def buffered(self) -> int:
        """Bytes that wait to be sent."""
        return self._client.buffered if self._client is not None else 0

    def schedule(self) -> None:
        """Have `before_write` called at the end of this turn, if there is a connection."""
        if self._client is not None:
            self._client.schedule()

    async def room(self) -> None:
        """Wait while more than 8 MiB wait to be sent.

        Raises:
            ConnectionLost: the connection went first.
        """
        await self._need().room()

    async def flush(self) -> None:
        """Wait until the server has taken all that was sent before.

        Raises:
            ConnectionLost: there is no connection, or it broke first.
        """
        await self._need().ping()

    # Receiving.

    async def subscribe(self, subject: str, callback: Callback, queue: str = "") -> Subscription:
        """Subscribe; on return the server routes messages here, now and after each reconnection.

        Args:
            subject: What to listen to; the caller has checked it.
            callback: Takes each message on the event loop and returns at once.
            queue: A queue group's name, or nothing.

        Raises:
            ConnectionLost: there is no connection.
            Forbidden: the server does not allow it.
        """
        client = self._need()
        subscription = Subscription(self, b"m%d" % next(self._sids), subject, queue)
        self._subscriptions[subscription.sid] = subscription
        self._routes[subscription.sid] = callback
        try:
            client.post(subscription.command)
            await client.ping()
            if subscription.denied:
                raise Forbidden(f"the NATS server says: {subscription.denied}")
        except BaseException:
            self.end_subscription(subscription)
            raise
        subscription.standing = True
        return subscription

    async def drain_subscription(self, subscription: Subscription) -> None:
        """See Subscription.drain."""
        sid = subscription.sid
        if self._subscriptions.pop(sid, None) is None:
            return
        try:
            if self._client is not None:
                self._client.post(b"UNSUB " + sid + b"\r\n")
                await self._client.ping()
        except ConnectionLost as lost:
            log.debug("a subscription ended with its connection: %s", lost)
        finally:
            self._routes.pop(sid, None)

    def end_subscription(self, subscription: Subscription) -> None:
        """See Subscription.unsubscribe."""
        sid = subscription.sid
        self._routes.pop(sid, None)
        if self._subscriptions.pop(sid, None) is not None and self._client is not None:
            self._client.post(b"UNSUB " + sid + b"\r\n")

    # What the client says.

    def lost(self, client: HardenedClient, error: Exception) -> None:
        """Note that the connection broke, and have it made again."""
        if client is not self._client:
            return
        self._client = None
        self._stands.clear()
        self._broken.set()
        lost = ConnectionLost(str(getattr(error, "detail", error)))
        self._tell(ConnectionState.DISCONNECTED, lost.detail)
        for listener in self.on_lost:
            listener(lost)

    def complained(self, text: str) -> None:
        """Pass a complaint to whom it concerns."""
        lower = text.lower()
        if "permissions violation" not in lower:
            slow = "slow consumer" in lower
            self._tell(ConnectionState.SLOW_CONSUMER if slow else ConnectionState.ERROR, text)
            return
        self._tell(ConnectionState.DENIED, text)
        subject = text.partition('"')[2].partition('"')[0]
        if "for publish" in lower:
            for listener in self.on_denied:
                listener(subject)
            return
        for subscription in self._subscriptions.values():
            if subscription.subject == subject:
                subscription.denied = text
                if subscription.standing and not subscription.waits:
                    # The permission may come back, and the server tells nobody when it does.
                    subscription.waits = True
                    loop = asyncio.get_running_loop()
                    loop.call_later(_ASK_AGAIN_SECONDS, self._ask_again, subscription)

    def informed(self, info: Mapping[str, Any]) -> None:
        """Learn of other servers; leave one that is about to stop when there is another."""
        self._dialer.discover(info)
        if info.get("ldm") and self._client is not None:
            self._tell(ConnectionState.LAME_DUCK, "the server is about to stop")
            if self._dialer.has_choice:
                delay = random.uniform(0, _LEAVE_SECONDS)
                asyncio.get_running_loop().call_later(delay, self._leave, self._client)

    # Life.

    async def begin(self) -> None:
        """Make the first connection, within the connect timeout."""
        self._attach(await self._dialer.first(self._options.connect_timeout))
        self._stands.set()
        self._tell(ConnectionState.CONNECTED, self._dialer.current)

    async def keep(self) -> None:
        """Make the connection again each time it breaks, for ever."""
        while True:
            await self._broken.wait()
            self._broken.clear()
            client = await self._dialer.again(self._failed)
            if not await self._resubscribe(client):
                continue
            self._stands.set()
            self._tell(ConnectionState.RECONNECTED, self._dialer.current)
            for listener in self.on_restored:
                listener()

    async def end(self) -> None:
        """Close the connection after all that was sent."""
        self._closing = True
        self._stands.clear()
        if self._client is not None:
            await self._client.shut()
        self._client = None
        await self._dialer.discard()
        for listener in self.on_lost:
            listener(ConnectionLost("the connection was closed"))
        self._tell(ConnectionState.CLOSED, "")

    def _attach(self, client: HardenedClient) -> None:
        self._client = client
        if not client.standing:
            self.lost(client, ConnectionLost("the connection broke at once"))

    async def _resubscribe(self, client: HardenedClient) -> bool:
        """Subscribe to everything on a new connection; whether it still stands after that."""
        try:
            for subscription in self._subscriptions.values():
                subscription.denied = ""
                client.post(subscription.command)
            self._attach(client)
            await client.ping()
        except ConnectionLost as error:
            log.debug("the new connection broke: %s", error)
            if client is not self._client:
                self._broken.set()
            return False
        return self._client is client

    def _client_for(self) -> HardenedClient:
        return HardenedClient(self._routes, self, self._fill)

    def _fill(self) -> None:
        for hook in self.before_write:
            hook()

    def _failed(self, reason: str) -> None:
        self._tell(ConnectionState.ERROR, f"cannot reconnect: {reason}")

    def _leave(self, client: HardenedClient) -> None:
        if client is self._client:
            client.lose(ConnectionLost("the server is about to stop"))

    def _ask_again(self, subscription: Subscription) -> None:
        subscription.waits = False
        if self._subscriptions.get(subscription.sid) is not subscription or self._client is None:
            return
        if subscription.denied:
            subscription.denied = ""
            self._client.post(subscription.command)

    def _need(self) -> HardenedClient:
        if self._client is None:
            raise ConnectionLost("no connection to the NATS server")
        return self._client

    def _tell(self, state: ConnectionState, detail: str) -> None:
        try:
            self._options.on_event(ConnectionEvent(state=state, detail=detail))
        except Exception:
            log.exception("on_event failed for %s", state)


@asynccontextmanager
async def open_connection(options: BackendOptions) -> AsyncIterator[Connection]:
    """Connect, and stay connected for as long as the block lasts.

    Raises:
        ConfigError: an option cannot be used.
        Unauthorized: the server refuses the credentials.
        ConnectionLost: no server answered within the connect timeout.
    """
    connection = Connection(options)
    async with open_scope() as scope:
        await connection.begin()
        try:
            scope.start(connection.keep(), name="micro-nats-keep")
            yield connection
        finally:
            await connection.end()
