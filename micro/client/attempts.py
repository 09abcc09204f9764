"""Getting a request to a node: one attempt after another, for as long as that is safe.

The order is: total timeout, round retry, round breaker, round attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from dataclasses import dataclass, field

from micro.client.channel import Channel
from micro.client.directory import Directory
from micro.client.plan import Plan
from micro.client.retry import backoff, may_retry
from micro.client.route import Peer, Route
from micro.client.selector import Where
from micro.client.stream import StreamCall
from micro.deadline import Deadline, enforce
from micro.errors import DeadlineExceeded, MicroError, NoResponders, TransportError, Unavailable
from micro.handlers.raises import as_raised
from micro.message import Message
from micro.middleware import Request
from micro.wire.headers import ERROR, application_headers, error_from

__all__ = ["Caller", "Wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one call asked for.

    Attributes:
        retries: How often it may be tried again where that is safe.
        where: Which nodes may answer.
        idempotent: Whether running it twice does no harm; `None` asks the registry.
        raises: The application's errors that the caller knows.
    """

    retries: int
    where: Where | None = None
    idempotent: bool | None = None
    raises: tuple[type[MicroError], ...] = ()


@dataclass(slots=True)
class _Attempts:
    """What one call has tried so far."""

    count: int = 0
    failed: dict[Peer, MicroError] = field(default_factory=dict)


class Caller:
    """Sends requests to the nodes of their services.

    Args:
        directory: Knows the services and their nodes.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._routes = directory.routes
        self._counters = directory.counters

    async def call(
        self,
        plan: Plan,
        body: bytes,
        headers: dict[str, str] | None,
        deadline: Deadline | None,
        wanted: Wanted,
    ) -> Message:
        """Send a request to one node after another until one answers or it must not go on.

        Raises:
            MicroError: the last attempt's, or that there is no node to try.
        """
        self._counters.calls += 1
        if headers:
            headers = application_headers(headers)
        route = self._routes.get(plan.service)
        if route is None or not route.ready:
            route = await self._directory.find(plan.service, deadline)
        attempts: _Attempts | None = None
        while True:
            peer: Peer | None = None
            try:
                peer = route.pick(wanted.where, attempts.failed if attempts else None)
                channel = peer.channel
                if channel is None:
                    channel = await _connect(peer, deadline)
                outgoing = (plan.native if peer.native else plan.foreign).copy()
                if headers:
                    outgoing = {**headers, **outgoing}
                limit = deadline
                if deadline is not None and not peer.native:
                    limit = self._share(plan, route, wanted, attempts, deadline)
                sent = body if plan.empty is None or peer.reads_null else plan.empty
                reply = await channel.call(outgoing, sent, limit)
                error = error_from(reply.headers) if ERROR in reply.headers else None
                if error is not None and wanted.raises:
                    error = as_raised(error, wanted.raises)
                if peer.breaker.failures or not peer.breaker.closed:
                    peer.breaker.success()
                if error is None:
                    route.budget.earn()
                    return reply
            except MicroError as failure:
                error = failure
                _note(peer, failure)
            except BaseException:
                if peer is not None:
                    peer.breaker.release()
                raise
            attempts = attempts or _Attempts()
            await self._before_retry(route, plan, wanted, deadline, attempts, peer, error)

    def _share(
        self,
        plan: Plan,
        route: Route,
        wanted: Wanted,
        attempts: _Attempts | None,
        deadline: Deadline,
    ) -> Deadline:
        """The part of the time that one attempt at a go-micro node may take.

        A go-micro server whose handler panics never answers (go-micro `server/rpc_server.go`).
        Where another attempt is allowed, each gets an equal share of what is left, so that one
        such node does not cost the whole call.
        """
        idempotent = wanted.idempotent
        if idempotent is None:
            idempotent = plan.endpoint in route.idempotent
        left = wanted.retries - (attempts.count if attempts else 0)
        if not idempotent or left <= 0:
            return deadline
        return Deadline.after(deadline.remaining() / (left + 1))

    async def _before_retry(
        self,
        route: Route,
        plan: Plan,
        wanted: Wanted,
        deadline: Deadline | None,
        attempts: _Attempts,
        peer: Peer | None,
        error: MicroError,
    ) -> None:
        """Return when another attempt may be made, after a pause; raise `error` when not."""
        attempts.count += 1
        if peer is None and attempts.failed:
            # That no node is left says less than why the last one failed.
            raise next(reversed(attempts.failed.values())) from error
        idempotent = wanted.idempotent
        if idempotent is None:
            idempotent = plan.endpoint in route.idempotent
        if peer is None or not may_retry(error, idempotent=idempotent):
            raise error
        # What surely did not run may go on to every node, however many of them are just leaving.
        most = wanted.retries + (len(route.peers) if error.refused and wanted.retries else 0)
        if attempts.count > most:
            raise error
        # A node that is lost or leaving says nothing about the load of the others: no budget then.
        leaving = isinstance(error, Unavailable) and error.refused
        if not (leaving or isinstance(error, TransportError)) and not route.budget.spend():
            raise error
        attempts.failed[peer] = error
        self._counters.retries += 1
        pause = backoff(attempts.count, error)
        if deadline is not None and deadline.remaining() <= pause:
            raise error
        await asyncio.sleep(pause)

    async def open_stream(
        self, plan: Plan, request: Request, where: Where | None
    ) -> tuple[StreamCall, Channel]:
        """Open a stream at one node; there is no second attempt once it is open.

        Returns:
            The stream, and its channel, whose socket the caller closes if it is not native.

        Raises:
            MicroError: no node could be reached.
        """
        route = await self._directory.find(plan.service, request.deadline)
        peer = route.pick(where)
        try:
            return await _open(peer, plan, request)
        except MicroError as error:
            _note(peer, error)
            raise
        finally:
            # How the stream goes on tells nothing to a probe.
            peer.breaker.release()


async def _open(peer: Peer, plan: Plan, request: Request) -> tuple[StreamCall, Channel]:
    # A go-micro server mistakes a late end of one stream for the end of the socket, so there
    # a stream has one of its own.
    channel = await (peer.connect() if peer.native else peer.dial())
    one = request.value is not None and not isinstance(request.value, AsyncIterable)
    body = plan.encode(request.value) if one else b""
    template = plan.native if peer.native else plan.foreign
    opening = body if peer.native else b"{}\n"
    headers = {**application_headers(request.headers), **template}
    call = await channel.open_stream(headers, opening, request.deadline)
    if one and not peer.native:
        await call.send(body)
    return call, channel


async def _connect(peer: Peer, deadline: Deadline | None) -> Channel:
    try:
        async with enforce(deadline, f"connecting to {peer.node.id}"):
            return await peer.connect()
    except DeadlineExceeded as error:
        error.refused = True
        raise


def _note(peer: Peer | None, error: MicroError) -> None:
    """Let a node's breaker know how an attempt at it ended."""
    if peer is None:
        return
    if isinstance(error, NoResponders):
        peer.breaker.eject()
    elif isinstance(error, TransportError | DeadlineExceeded):
        peer.breaker.failure()
    else:
        peer.breaker.release()
