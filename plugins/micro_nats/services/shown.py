"""One node, shown to tools that speak the NATS services protocol, and called by them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from micro.backend import EndpointView, ServiceView
from micro.broker.contract import Subscription as Shown
from micro.errors import ConnectionLost, Forbidden, MicroError
from micro.scope import open_scope
from micro_nats.connection.connection import Connection, Subscription
from micro_nats.services.names import PREFIX, QUEUE, control_subjects, request_subject, token
from micro_nats.services.requests import PlainRequests
from micro_nats.services.responses import Responses

__all__ = ["ShownService", "show_service"]

_log = logging.getLogger("micro.nats")

MAX_QUESTIONS_PER_SECOND = 100
"""Answers to questions about a node: one small request reaches every node of every service."""


class ShownService(Shown):
    """The subscriptions of one node.

    Args:
        connection: The connection.
        view: The service and its node.
        namespace: What the subjects of requests begin with; empty for nothing.
    """

    def __init__(self, connection: Connection, view: ServiceView, namespace: str) -> None:
        self._connection = connection
        self._view = view
        self._namespace = namespace
        self._responses = Responses(view, namespace)
        self._requests = PlainRequests(connection, view.accept, view.node)
        self._subscriptions: list[Subscription] = []
        self._second = 0
        self._asked = 0

    async def subscribe(self) -> None:
        """Subscribe to everything, side by side.

        Raises:
            Forbidden: this user may not; tools see nothing of the service.
            ConnectionLost: the connection broke.
        """
        name, node = token(self._view.name), token(self._view.node)
        # Alone and first: where this is denied, all would be, and each would be logged.
        await self._add(f"{PREFIX}.PING", self._answering("PING"), "")
        targets = [
            (subject, self._answering(verb), "")
            for subject, verb in control_subjects(name, node)
            if subject != f"{PREFIX}.PING"
        ]
        targets += [
            (
                request_subject(self._namespace, self._view.name, each.name),
                self._requesting(each),
                QUEUE,
            )
            for each in self._view.endpoints
        ]
        async with open_scope() as scope:
            await asyncio.gather(*(scope.start(self._add(*target)) for target in targets))

    async def drain(self) -> None:
        """Stop the intake; requests that came are answered."""
        subscriptions, self._subscriptions = self._subscriptions, []
        async with open_scope() as scope:
            await asyncio.gather(*(scope.start(each.drain()) for each in subscriptions))

    async def aclose(self) -> None:
        """End it at once."""
        for each in self._subscriptions:
            each.unsubscribe()
        self._subscriptions.clear()
        self._requests.close()

    async def _add(self, subject: str, callback: _Callback, queue: str) -> None:
        self._subscriptions.append(
            await self._connection.subscribe(subject, callback, queue, optional=True)
        )

    def _answering(self, verb: str) -> _Callback:
        def answer(_subject: str, reply: str, _data: bytes, _headers: _Headers) -> None:
            if reply and self._may_answer():
                self._send(reply, self._responses.answer(verb))

        return answer

    def _requesting(self, endpoint: EndpointView) -> _Callback:
        def request(_subject: str, reply: str, data: bytes, headers: _Headers) -> None:
            self._requests.request(endpoint.name, reply, data, headers)

        return request

    def _may_answer(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._asked = second, 0
        self._asked += 1
        return self._asked <= MAX_QUESTIONS_PER_SECOND

    def _send(self, reply: str, body: bytes) -> None:
        try:
            self._connection.publish_now(reply, "", body)
        except MicroError as error:
            _log.debug("a question about this node was not answered: %s", error)


_Headers = dict[str, str] | None
_Callback = Callable[[str, str, bytes, _Headers], None]


async def show_service(
    connection: Connection, view: ServiceView, *, namespace: str
) -> Shown | None:
    """Show a service; `None` where this user may not subscribe to what tools ask."""
    shown = ShownService(connection, view, namespace)
    try:
        await shown.subscribe()
    except (Forbidden, ConnectionLost) as error:
        await shown.aclose()
        _log.info("tools of NATS do not see %s: %s", view.name, error.detail)
        return None
    return shown
