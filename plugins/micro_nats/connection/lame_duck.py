"""Leaves a server that is about to stop, before it cuts the connection.

A nats-server in lame duck mode sends INFO with `ldm` and closes its connections over the next
minutes; see https://docs.nats.io/running-a-nats-service/nats_admin/lame_duck_mode.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

from micro.backend import ConnectionState
from micro.errors import ConnectionLost
from micro_nats.connection.announcer import Announcer
from micro_nats.connection.link import NatsLink
from micro_nats.connection.reconnect import Dialer

__all__ = ["LameDuck"]

# All clients of a server receive its INFO at once; the next server gets them over a second.
_MAX_LEAVE_DELAY_SECONDS = 1.0


class LameDuck:
    """Gives a link up when its server is about to stop and another server is known.

    Args:
        announcer: Reports to the application.
        dialer: Knows the servers.
    """

    def __init__(self, announcer: Announcer, dialer: Dialer) -> None:
        self._announcer = announcer
        self._dialer = dialer
        self._leaving: asyncio.TimerHandle | None = None

    def on_info(self, info: Mapping[str, object], link: NatsLink) -> None:
        """Check whether the server of `link` is about to stop."""
        if not info.get("ldm"):
            return
        self._announcer.emit(ConnectionState.LAME_DUCK, "the server is about to stop")
        # Without another server the connection is kept for as long as this one lets it.
        if self._dialer.has_choice and self._leaving is None:
            delay = random.uniform(0, _MAX_LEAVE_DELAY_SECONDS)
            self._leaving = asyncio.get_running_loop().call_later(delay, self._leave, link)

    def close(self) -> None:
        """Cancel a planned move to another server."""
        if self._leaving is not None:
            self._leaving.cancel()

    def _leave(self, link: NatsLink) -> None:
        self._leaving = None
        # A link that broke in the meantime ignores this.
        link.fail(ConnectionLost("the server is about to stop"))
