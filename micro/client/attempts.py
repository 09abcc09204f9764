"""Getting a request to a node: one attempt after another, for as long as that is safe.

The order is: total timeout, around retry, around breaker, around attempt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass

from micro.client.channel import Channel
from micro.client.directory import Directory
from micro.client.late import LateCalls
from micro.client.node import RemoteNode
from micro.client.plan import CallPlan
from micro.client.retry import Retrying
from micro.client.route import Route
from micro.client.selector import Where
from micro.client.stream import StreamCall
from micro.deadline import Deadline, enforce
from micro.errors import DeadlineExceeded, InternalError, MicroError, ResourceExhausted
from micro.handlers.raises import as_raised
from micro.message import Message
from micro.middleware import Request
from micro.telemetry.metrics import ClientCounters
from micro.wire.headers import ERROR, application_headers, error_from

__all__ = ["CallPolicy", "RetryingCaller"]

_MAX_CALLS = 262_144

_Retrying = Retrying[RemoteNode]


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """How one call may be made.

    Attributes:
        retries: How often it may be repeated where that is safe.
        where: Which nodes may answer.
        idempotent: Whether running it twice does no harm; `None` leaves it to each node's record.
        raises: The application's errors that the caller knows.
    """

    retries: int
    where: Where | None = None
    idempotent: bool | None = None
    raises: tuple[type[MicroError], ...] = ()

    def allows_second_run(self, node: RemoteNode, endpoint: str) -> bool:
        """Whether the request may run again after it may have run at `node`.

        Only the record of that node counts: another one may run another version.
        """
        return endpoint in node.idempotent if self.idempotent is None else self.idempotent


class RetryingCaller:
    """Sends requests to the nodes of their services.

    Args:
        directory: Knows the services and their nodes.
        counters: Where calls are counted.

    Attributes:
        late: Reports calls and streams that end at their deadlines.
    """

    def __init__(self, directory: Directory, counters: ClientCounters) -> None:
        self._directory = directory
        self._routes = directory.routes
        self._counters = counters
        self._in_flight = 0
        self.late: LateCalls = LateCalls()

    async def call(
        self,
        plan: CallPlan,
        body: bytes,
        headers: Mapping[str, str] | None,
        deadline: Deadline | None,
        policy: CallPolicy,
    ) -> Message:
        """Send a request to one node after another until one answers or it must not go on.

        Raises:
            MicroError: the last attempt's, or that there is no node to try.
        """
        self._counters.calls += 1
        if self._in_flight >= _MAX_CALLS:
            raise _too_many_calls()
        self._in_flight += 1
        started = time.monotonic()
        node: RemoteNode | None = None
        retrying: _Retrying | None = None
        if headers:
            headers = application_headers(headers)
        try:
            route = self._routes.get(plan.service)
            if route is None or not route.ready:
                route = await self._directory.resolve(plan.service, deadline)
            while True:
                if retrying is None:
                    node = route.pick(plan.endpoint, policy.where)
                else:
                    node = _pick_again(route, plan, policy, retrying)
                try:
                    channel = node.channel
                    if channel is None:
                        channel = await _connect(node, deadline)
                    outgoing = (plan.native if node.native else plan.go_micro).copy()
                    if headers:
                        outgoing = {**headers, **outgoing}
                    limit = deadline
                    if deadline is not None and not node.native:
                        limit = _share(plan, policy, node, retrying, deadline)
                    sent = body if plan.empty is None or node.reads_null else plan.empty
                    reply = await channel.call(outgoing, sent, limit)
                    if not node.healthy:
                        node.on_answer()
                    if not reply.headers.get(ERROR):
                        route.budget.earn()
                        return reply
                    error = _meaning(reply, policy, node, deadline)
                except MicroError as failure:
                    error = failure
                    node.on_failure(failure)
                except BaseException:
                    node.breaker.release()
                    raise
                retrying = retrying or Retrying(policy.retries, len(route.nodes), route.budget)
                idempotent = policy.allows_second_run(node, plan.endpoint)
                await self._pause(retrying, node, error, idempotent, deadline)
        except DeadlineExceeded as error:
            at = "" if node is None else node.node.id
            raise self.late.report(error, plan, at, started, headers) from None
        finally:
            self._in_flight -= 1

    async def open_stream(
        self, plan: CallPlan, request: Request, where: Where | None
    ) -> tuple[StreamCall, Channel]:
        """Open a stream at one node; there is no second attempt once it is open.

        Returns:
            The stream, and its channel, whose socket the caller closes if it is not native.

        Raises:
            MicroError: no node could be reached.
        """
        route = await self._directory.resolve(plan.service, request.deadline)
        node = route.pick(plan.endpoint, where)
        try:
            call, channel = await _open(node, plan, request)
            call.node = node.node.id
            return call, channel
        except MicroError as error:
            node.on_failure(error)
            raise
        finally:
            # How the stream goes on is no result for a probe.
            node.breaker.release()

    async def _pause(
        self,
        retrying: _Retrying,
        node: RemoteNode,
        error: MicroError,
        idempotent: bool,
        deadline: Deadline | None,
    ) -> None:
        """Return when another attempt may be made; raise `error` when none may."""
        pause = retrying.next_pause(node, error, idempotent=idempotent, deadline=deadline)
        if pause is None:
            raise error
        self._counters.retries += 1
        await asyncio.sleep(pause)


def _too_many_calls() -> ResourceExhausted:
    detail = f"{_MAX_CALLS} calls of this client wait for replies"
    return ResourceExhausted(detail, id="micro.client", refused=True)


def _pick_again(
    route: Route, plan: CallPlan, policy: CallPolicy, retrying: _Retrying
) -> RemoteNode:
    try:
        return route.pick(plan.endpoint, policy.where, retrying.failed)
    except MicroError as error:
        # That no node is left says less than why the last one failed.
        raise next(reversed(retrying.failed.values())) from error


def _meaning(
    reply: Message, policy: CallPolicy, node: RemoteNode, deadline: Deadline | None
) -> MicroError:
    """The error that a reply carries, as its caller knows it."""
    error = error_from(reply.headers)
    assert error is not None, "only replies with an error come here"
    if policy.raises:
        return as_raised(error, policy.raises)
    late = deadline is not None and deadline.remaining() <= 0
    # A Go handler whose context has ended reports it in its own words, with code 500.
    if late and not node.native and isinstance(error, InternalError):
        return DeadlineExceeded(error.detail, id=error.id)
    return error


def _share(
    plan: CallPlan,
    policy: CallPolicy,
    node: RemoteNode,
    retrying: _Retrying | None,
    deadline: Deadline,
) -> Deadline:
    """The part of the time that one attempt at a go-micro node may take.

    A go-micro server whose handler panics never answers (go-micro `server/rpc_server.go`). Where
    another attempt is allowed, each gets an equal share of what is left, so that one such node
    does not cost the whole call.
    """
    left = policy.retries if retrying is None else retrying.left
    if left <= 0 or not policy.allows_second_run(node, plan.endpoint):
        return deadline
    return Deadline.after(deadline.remaining() / (left + 1))


async def _open(node: RemoteNode, plan: CallPlan, request: Request) -> tuple[StreamCall, Channel]:
    # A go-micro server takes a late end of one stream for the end of the socket, so there a
    # stream has a socket of its own.
    channel = await (node.connect() if node.native else node.dial())
    one = request.value is not None and not isinstance(request.value, AsyncIterable)
    body = plan.encode(request.value) if one else b""
    template = plan.native if node.native else plan.go_micro
    opening = body if node.native else b"{}\n"
    headers = {**application_headers(request.headers), **template}
    call = await channel.open_stream(headers, opening, request.deadline)
    if one and not node.native:
        await call.send(body)
    return call, channel


async def _connect(node: RemoteNode, deadline: Deadline | None) -> Channel:
    try:
        async with enforce(deadline, f"connecting to {node.node.id}"):
            return await node.connect()
    except DeadlineExceeded as error:
        raise DeadlineExceeded(error.detail, id=error.id, refused=True) from error
