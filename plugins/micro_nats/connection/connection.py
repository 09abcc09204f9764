"""The plugin's one connection to NATS: publishes, subscribes, reconnects after every loss."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from micro.backend import BackendOptions, ConnectionState
from micro.errors import ConnectionLost
from micro.scope import Scope, open_scope
from micro_nats.connection.announcer import Announcer
from micro_nats.connection.handshake import Greeting
from micro_nats.connection.lame_duck import LameDuck
from micro_nats.connection.link import NO_CONNECTION, Callback, NatsLink
from micro_nats.connection.observer import Observer, Observers
from micro_nats.connection.options import read_options
from micro_nats.connection.reconnect import Dialer
from micro_nats.connection.server_errors import ServerErrors
from micro_nats.connection.subscriptions import Subscription, Subscriptions
from micro_nats.tokens import Inboxes

__all__ = ["Connection", "Observer", "Subscription", "open_connection"]

log = logging.getLogger("micro.nats")

_CHECK_SECONDS = 2.0
# nats-server's own default; it counts until the first connection tells the real limit.
_DEFAULT_MAX_PAYLOAD_BYTES = 1 << 20


class Connection(Observer):
    """Publishes and subscribes; reconnects and subscribes again. Open it with `open_connection`.

    Attributes:
        inboxes: Subjects for answers.
        settings: The driver's options, checked.
    """

    def __init__(self, options: BackendOptions, scope: Scope) -> None:
        self._options = options
        self.settings = read_options(options)
        self.inboxes = Inboxes(self.settings.inbox_prefix, self.settings.reply_prefixes)
        self._dialer = Dialer(self.settings, scope, self._open_link)
        self._announcer = Announcer(options)
        self._subscriptions = Subscriptions()
        self._observers = Observers()
        self._errors = ServerErrors(self._announcer, self._subscriptions, self._observers)
        self._lame_duck = LameDuck(self._announcer, self._dialer)
        self._link: NatsLink | None = None
        self._restored = asyncio.Event()
        self._broken = asyncio.Event()
        self._closing = False
        self._watching_delay = False

    def observe(self, observer: Observer) -> None:
        """Call `observer` at each event of the connection, until the connection is closed."""
        self._observers.add(observer)

    @property
    def connected(self) -> bool:
        """Whether the connection is up, as far as it knows."""
        return self._link is not None

    @property
    def max_payload(self) -> int:
        """The server's limit for one message's headers and payload, in bytes."""
        return self._link.max_payload if self._link is not None else _DEFAULT_MAX_PAYLOAD_BYTES

    @property
    def connect_timeout(self) -> float:
        """Seconds that a first connection, and a wait for a lost one, may take."""
        return self._options.connect_timeout

    @property
    def info(self) -> Mapping[str, object]:
        """What the server last said of itself; empty without a connection."""
        return self._link.info if self._link is not None else {}

    @property
    def buffered(self) -> int:
        """Bytes that wait to be sent."""
        return self._link.buffered if self._link is not None else 0

    @property
    def delay(self) -> float:
        """Seconds that messages may have waited because the server or this process was stopped.

        It is 0 in normal operation, and until `watch_delay` is called."""
        return self._link.liveness.delay if self._link is not None else 0.0

    def watch_delay(self) -> None:
        """Measure `delay` from now on; this costs two pings a second while the server is silent."""
        self._watching_delay = True
        if self._link is not None:
            self._link.liveness.watch_delay()

    async def wait_connected(self, timeout: float) -> None:
        """Wait until the connection is up.

        Raises:
            ConnectionLost: it is not up after `timeout` seconds, or it is closed.
        """
        if self._link is not None:
            return
        try:
            async with asyncio.timeout(0.0 if self._closing else timeout):
                await self._restored.wait()
        except TimeoutError:
            raise ConnectionLost(f"no connection to the NATS server for {timeout} s") from None

    async def check(self) -> None:
        """Make a round trip to the server.

        Raises:
            ConnectionLost: there is no connection, or no answer within two seconds.
            Forbidden: the server has revoked the permission for a subscription.
        """
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                await self.flush()
        except TimeoutError:
            raise ConnectionLost(f"no answer from the NATS server in {_CHECK_SECONDS} s") from None
        self._subscriptions.check()

    def publish_now(self, subject: str, reply: str, payload: bytes, headers: bytes = b"") -> None:
        """Send a message within this turn of the event loop; see `NatsLink.publish`.

        Raises:
            ConnectionLost: there is no connection; nothing is kept to be sent later.
            PayloadTooLarge: the message is over the server's limit.
            ResourceExhausted: more than 64 MiB wait to be sent.
        """
        self._require_link().publish(subject, reply, payload, headers)

    def write(self, data: bytes) -> None:
        """Send bytes of the protocol now, their size bounded by the caller.

        Raises:
            ConnectionLost: there is no connection.
        """
        self._require_link().write(data)

    async def wait_writable(self) -> None:
        """Wait while more than 8 MiB wait to be sent.

        Raises:
            ConnectionLost: the connection broke first.
        """
        await self._require_link().wait_writable()

    async def flush(self) -> None:
        """Wait until the server has received all that was sent before.

        Raises:
            ConnectionLost: there is no connection, or it broke first.
        """
        await self._require_link().ping()

    async def may_publish(self, subject: str, reply: str = "") -> bool:
        """Ask the server whether this user may publish to `subject`, with an empty message.

        A refusal is not reported as an event. Subscribers answer to `reply`.

        Raises:
            ConnectionLost: there is no connection, or it broke first.
        """
        with self._errors.expect(subject) as refused:
            self.publish_now(subject, reply, b"")
            await self.flush()
        return not refused

    async def subscribe(
        self, subject: str, callback: Callback, queue: str = "", *, optional: bool = False
    ) -> Subscription:
        """Subscribe; on return the server routes messages here, now and after each reconnection.

        Args:
            subject: What to listen to; the caller has checked it.
            callback: Receives each message on the event loop and returns at once.
            queue: A queue group's name, or nothing.
            optional: A refusal by the server is no event and no reason to be unready.

        Raises:
            ConnectionLost: there is no connection.
            Forbidden: the server does not allow it.
        """
        return await self._subscriptions.add(subject, callback, queue, optional=optional)

    def on_lost(self, error: ConnectionLost) -> None:
        """Note that the connection broke, and have it opened again."""
        if self._link is None or self._link.connected:
            return  # a link that was not in use yet
        self._set_link(None)
        self._restored.clear()
        self._broken.set()
        self._announcer.emit(ConnectionState.DISCONNECTED, error.detail)
        self._observers.on_lost(error)

    def on_error(self, text: str) -> None:
        """Report the error to the parts that it concerns."""
        self._errors.handle(text)

    def on_info(self, info: Mapping[str, object]) -> None:
        """Note other servers; leave a server that is about to stop if another is known."""
        self._dialer.discover(info)
        if self._link is not None:
            self._lame_duck.on_info(info, self._link)

    async def connect(self) -> None:
        """Open the first connection, within the connect timeout."""
        link = await self._dialer.first(self._options.connect_timeout)
        self._set_link(link)
        self._restored.set()
        self._announcer.emit(ConnectionState.CONNECTED, self._dialer.current)
        # `on_lost` ignored a link that broke before it was set.
        if not link.connected:
            self.on_lost(ConnectionLost("the connection broke at once"))

    async def reconnect_forever(self) -> None:
        """Open the connection again each time it breaks."""
        while True:
            await self._broken.wait()
            self._broken.clear()
            link = await self._dialer.again(self._note_failure)
            if not await self._resubscribe(link):
                continue
            # Publishers that waited run in a later turn; the subscriptions are already sent.
            self._restored.set()
            self._announcer.emit(ConnectionState.RECONNECTED, self._dialer.current)
            self._observers.on_restored()

    async def aclose(self) -> None:
        """Close the connection; bytes that wait are sent first, for at most 2 s."""
        self._closing = True
        self._restored.clear()
        self._subscriptions.close()
        self._lame_duck.close()
        if self._link is not None:
            await self._link.aclose()
        self._set_link(None)
        await self._dialer.discard()
        self._announcer.close()
        self._observers.on_lost(ConnectionLost("the connection was closed"))
        self._announcer.emit(ConnectionState.CLOSED, "")

    def _open_link(self, greeting: Greeting) -> NatsLink:
        link = NatsLink(
            greeting,
            self._subscriptions.routes,
            self,
            ping_interval=self.settings.connect["ping_interval"],
            max_outstanding_pings=self.settings.connect["max_outstanding_pings"],
        )
        if self._watching_delay:
            link.liveness.watch_delay()
        link.start()
        return link

    def _set_link(self, link: NatsLink | None) -> None:
        self._link = self._subscriptions.link = link

    async def _resubscribe(self, link: NatsLink) -> bool:
        """Subscribe to everything on a new link; returns whether it is still up after that."""
        try:
            # In this order, and without a wait between: no one can publish on the link before.
            self._subscriptions.restore(link)
            self._set_link(link)
            await link.ping()
        except ConnectionLost as error:
            log.debug("the new connection broke: %s", error)
            if link is not self._link:
                self._broken.set()
            return False
        return self._link is link

    def _note_failure(self, reason: str) -> None:
        self._announcer.emit(ConnectionState.ERROR, f"cannot reconnect: {reason}")

    def _require_link(self) -> NatsLink:
        if self._link is None:
            raise ConnectionLost(NO_CONNECTION)
        return self._link


@asynccontextmanager
async def open_connection(options: BackendOptions) -> AsyncIterator[Connection]:
    """Connect, and stay connected for as long as the block lasts.

    Raises:
        ConfigError: an option cannot be used.
        Unauthorized: the server refuses the credentials.
        ConnectionLost: no server answered within the connect timeout.
    """
    async with open_scope() as scope:
        connection = Connection(options, scope)
        await connection.connect()
        try:
            scope.start(connection.reconnect_forever(), name="micro-nats-reconnect")
            yield connection
        finally:
            await connection.aclose()
