"""The server: runs a handler for each request, within bounds, and answers whatever happens."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from copy import copy
from typing import Any, Self

from micro.codec import Codecs
from micro.codec.contract import Decoder, Encoder
from micro.concurrency.limiter import Admission, Limiter
from micro.concurrency.loop_lag import LoopLag
from micro.concurrency.threads import Threads
from micro.concurrency.timers import Timers
from micro.context import Context, ambient_context
from micro.deadline import Deadline, ambient_deadline
from micro.errors import (
    DeadlineExceeded,
    HandlerError,
    InternalError,
    MethodNotAllowed,
    MicroError,
    NotFound,
    ResourceExhausted,
    Unavailable,
    UsageError,
)
from micro.handlers.endpoint import Endpoint
from micro.message import Message
from micro.middleware import Request, Response, fold
from micro.scope import open_scope
from micro.server.call import Call, Mounted, weight_of, write_response
from micro.server.channel import Session
from micro.server.options import ServerOptions
from micro.server.stream import open_flows, run_stream
from micro.telemetry.metrics import ServerCounters
from micro.transport.contract import Receiver, Socket
from micro.wire.compression import MIN_COMPRESS_BYTES
from micro.wire.headers import (
    CONTENT_TYPE,
    ENDPOINT,
    METHOD,
    STREAM,
    application_headers,
    deadline_from,
    reply_headers,
)

__all__ = ["Server", "ServerOptions"]

_log = logging.getLogger("micro.server")
_LAST_WORD = 0.1
_MOST_CODERS = 16
_JSON = "application/json"


class Server:
    """Serves endpoints on whatever sockets a listener accepts. Use it inside `async with`.

    Args:
        name: The service's name, the `id` of its errors.
        codecs: Reads requests and writes responses.
        options: Bounds and layers.
        counters: Where it counts; its own when not given.

    Attributes:
        counters: What happened so far.
    """

    def __init__(
        self,
        name: str,
        codecs: Codecs,
        options: ServerOptions | None = None,
        counters: ServerCounters | None = None,
    ) -> None:
        self.name = name
        self.options = options or ServerOptions()
        self.counters = counters or ServerCounters()
        self._codecs = codecs
        self._mounted: dict[str, Mounted] = {}
        self._sessions: set[Session] = set()
        most, queue = self.options.max_concurrency, self.options.max_queue
        self._limiter = Limiter[Call](most, queue, self._launch, weight_of)
        self._draining = False
        self._idle = asyncio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._scope = await self._stack.enter_async_context(open_scope())
        self._timers = Timers[Call](_expire)
        self._threads = Threads(self.options.threads, f"{self.name}-handler")
        self._stack.callback(self._threads.close)
        self._stack.callback(self._timers.close)
        self._lag = LoopLag()
        self._scope.start(self._lag.measure(), name="micro.server.lag")
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._scope.cancel()
        await self._stack.aclose()

    def mount(self, endpoints: Iterable[Endpoint]) -> None:
        """Serve endpoints.

        Raises:
            HandlerError: two have the same name.
        """
        for endpoint in endpoints:
            if endpoint.name in self._mounted:
                raise HandlerError(f"two endpoints are named {endpoint.name!r}")
            most, queue = endpoint.max_concurrency, self.options.max_queue
            limiter = Limiter[Call](most, queue, self._enter, weight_of) if most else None
            mounted = Mounted(endpoint, None, limiter)
            if self.options.middleware:
                mounted.chain = fold(self.options.middleware, self._innermost(endpoint))
            self._mounted[endpoint.name] = mounted

    def accept(self, socket: Socket) -> Receiver:
        """What a listener calls for each new socket."""
        session = Session(self, socket)
        self._sessions.add(session)
        return session

    def forget(self, session: Session) -> None:
        """A session's socket is gone."""
        self._sessions.discard(session)

    async def drain(self, grace: float) -> list[str]:
        """Refuse new requests from now on, and wait for those that run.

        Returns:
            The endpoints of what still ran after `grace` seconds and was cancelled.
        """
        end = time.monotonic() + grace
        self._draining = True
        self._check_idle()
        try:
            async with asyncio.timeout(grace):
                await self._idle.wait()
        except TimeoutError:
            stuck = [call for session in self._sessions for call in session.calls.values()]
            for call in stuck:
                call.stopped = True
                if call.task is None:
                    self._refuse(call.session, call.headers, self._stopping())
                call.cancel()
            await self._answer_for(stuck)
            return sorted({call.mounted.endpoint.name for call in stuck if call.task is not None})
        return await self._threads.settle(max(0.0, end - time.monotonic()))

    async def _answer_for(self, stuck: Iterable[Call]) -> None:
        """Answer for handlers that ignore their cancellation.

        Without an answer their clients would take the goodbye that follows as word that the calls
        did not run, and make them elsewhere.
        """
        running = {call.task: call for call in stuck if call.task is not None}
        if running:
            _, deaf = await asyncio.wait(running, timeout=_LAST_WORD)
            for task in deaf:
                self._fail(running[task], Unavailable("the service stopped first", id=self.name))

    def gauges(self) -> dict[str, float]:
        """How many calls run and wait now, by their names as metrics."""
        gate, prefix = self._limiter, "micro.server"
        return {f"{prefix}.in_flight": gate.inside, f"{prefix}.waiting": gate.waiting}

    def start(self, session: Session, headers: dict[str, str], body: bytes) -> None:
        """Take a request: run it, let it wait for room, or refuse it at once."""
        name = headers.get(ENDPOINT) or headers.get(METHOD, "")
        mounted = self._mounted.get(name)
        streams = STREAM in headers
        if mounted is None or self._draining or mounted.streams != streams:
            self._refuse(session, headers, self._objection(name, mounted))
            return
        deadline = deadline_from(headers)
        if deadline is None:
            if not streams:
                deadline = Deadline.after(self.options.timeout)
        elif (lag := self._lag.seconds()) and deadline.remaining() <= lag:
            self._refuse_late(session, headers)
            return
        call = Call(session, mounted, headers, body, deadline)
        session.calls[call.id] = call
        if streams:
            open_flows(call)
        if mounted.limiter is None:
            self._enter(call)
        else:
            self._pass(mounted.limiter, call)

    def _pass(self, limiter: Limiter[Call], call: Call) -> None:
        admission = limiter.admit(call)
        if admission is Admission.RUN:
            self._enter(call)
        else:
            self._wait_or_refuse(limiter, call, admission)

    def _enter(self, call: Call) -> None:
        admission = self._limiter.admit(call)
        if admission is Admission.RUN:
            self._launch(call)
        else:
            self._wait_or_refuse(self._limiter, call, admission)

    def _wait_or_refuse(self, limiter: Limiter[Call], call: Call, admission: Admission) -> None:
        own = call.mounted.limiter
        if admission is Admission.REFUSED:
            call.session.finish(call)
            if own is not None and limiter is not own:
                own.release()
            busy = ResourceExhausted(
                f"{self.name} is at its limit", id=self.name, retry_after=0.1, refused=True
            )
            self._refuse(call.session, call.headers, busy)
            return

        def withdraw(call: Call) -> None:
            if limiter.withdraw(call):
                call.session.finish(call)
                if own is not None and limiter is not own:
                    own.release()
                self._check_idle()

        call.withdraw = withdraw

    def _launch(self, call: Call) -> None:
        deadline = call.deadline
        if call.withdraw is not None:
            call.withdraw = None
            if deadline is not None and deadline.remaining() <= 0:
                self._refuse_late(call.session, call.headers)
                self._finished(call)
                return
        if deadline is not None:
            call.slot = self._timers.add(deadline.at, call)
        call.task = self._scope.spawn(self._run(call))

    async def _run(self, call: Call) -> None:
        call.begun = True
        if call.dropped:
            self._answer_cancelled(call)
            self._finished(call)
            return
        ambient_deadline.set(call.deadline)
        headers = call.headers
        endpoint = call.mounted.endpoint
        context = Context(
            self.name, endpoint.name, headers, call.deadline, call.session.socket.remote, call.id
        )
        ambient_context.set(context)
        self.counters.handled += 1
        try:
            if call.inflow is None:
                await self._answer(call, context)
            else:
                decode, encode = self._coders(call)
                await run_stream(call, self._invoke, decode, encode)
        except asyncio.CancelledError:
            self._answer_cancelled(call)
            raise
        except UsageError as error:
            self._fail(call, self._opaque(call, error))
        except MicroError as error:
            self._fail(call, error)
        except Exception as error:
            # The boundary of a handler: what it did not foresee is logged here and opaque there.
            self._fail(call, self._opaque(call, error))
        finally:
            self._finished(call)

    async def _answer(self, call: Call, context: Context) -> None:
        """Run a unary handler and send its response."""
        mounted = call.mounted
        endpoint = mounted.endpoint
        headers = call.headers
        decode, encode = mounted.coders.get(headers.get(CONTENT_TYPE, _JSON)) or self._coders(call)
        value = decode(call.body) if endpoint.takes_request else None
        if mounted.chain is None and not endpoint.blocking:
            result = await endpoint.bind(value, context)
            own = context.reply_headers
        else:
            response = await self._invoke(call, value)
            result, own = response.value, response.headers
        reply = reply_headers(headers, headers.get(CONTENT_TYPE, _JSON))
        if own:
            reply = {**application_headers(own), **reply}
        body = write_response(encode, result)
        if len(body) >= MIN_COMPRESS_BYTES:
            await call.session.send_large(call, Message(reply, body))
        else:
            try:
                call.session.send(Message(reply, body))
            except ResourceExhausted:
                await call.session.send_large(call, Message(reply, body))

    async def _invoke(self, call: Call, value: Any) -> Response:
        """Run the layers and the handler; a stream's response has an async iterator as value."""
        mounted = call.mounted
        request = Request(
            "server", self.name, mounted.endpoint.name, dict(call.headers), value, call.deadline
        )
        chain = mounted.chain or self._innermost(mounted.endpoint)
        return await chain(request)

    def _innermost(self, endpoint: Endpoint) -> Any:
        async def innermost(request: Request) -> Response:
            context = Context.current()
            context.headers = request.headers
            if endpoint.blocking:
                result = await self._threads.run(
                    endpoint.name, endpoint.bind, request.value, context
                )
            elif endpoint.kind.streams_responses:
                result = endpoint.bind(request.value, context)
            else:
                result = await endpoint.bind(request.value, context)
            return Response(result, context.reply_headers)

        return innermost

    def _coders(self, call: Call) -> tuple[Decoder, Encoder]:
        mounted = call.mounted
        kind = call.headers.get(CONTENT_TYPE, _JSON)
        coders = mounted.coders.get(kind)
        if coders is None:
            endpoint = mounted.endpoint
            coders = (
                self._codecs.decoder_for(kind, endpoint.request_type),
                self._codecs.encoder_for(kind, endpoint.response_type),
            )
            if len(mounted.coders) < _MOST_CODERS:
                mounted.coders[kind] = coders
        return coders

    def _objection(self, name: str, mounted: Mounted | None) -> MicroError:
        if mounted is None:
            return NotFound(f"{self.name} has no endpoint {name!r}", id=self.name, refused=True)
        if self._draining:
            return self._stopping()
        kind = "a stream" if mounted.streams else "not a stream"
        return MethodNotAllowed(f"{name} is {kind}", id=self.name, refused=True)

    def _stopping(self) -> MicroError:
        return Unavailable(f"{self.name} is stopping", id=self.name, refused=True)

    def _refuse(self, session: Session, headers: dict[str, str], error: MicroError) -> None:
        self.counters.refused += 1
        session.refuse(headers, error)

    def _refuse_late(self, session: Session, headers: dict[str, str]) -> None:
        self.counters.expired += 1
        late = DeadlineExceeded("the request waited too long", id=self.name, refused=True)
        session.refuse(headers, late)

    def _fail(self, call: Call, error: MicroError) -> None:
        self.counters.failed += 1
        answer = copy(error)  # the handler may raise the same object again
        vars(answer).update(id=error.id or self.name, refused=False)  # it did run
        call.session.refuse(call.headers, answer)

    def _opaque(self, call: Call, error: Exception) -> InternalError:
        _log.error("%s failed", call.mounted.endpoint.name, exc_info=error)
        return InternalError("the handler failed", id=self.name)

    def _answer_cancelled(self, call: Call) -> None:
        if call.expired:
            self.counters.expired += 1
            self._fail(call, DeadlineExceeded("the handler took too long", id=self.name))
        elif call.stopped:
            self._fail(call, Unavailable("the service stopped first", id=self.name))
        elif not call.dropped:
            # Nobody asked for it: the handler awaited something that was cancelled.
            self._fail(call, InternalError("the handler was cancelled", id=self.name))

    def _finished(self, call: Call) -> None:
        if call.slot is not None:
            call.slot.discard(call)
        if call.task is not None:
            self._scope.release(call.task)
        call.session.finish(call)
        self._limiter.release()
        if call.mounted.limiter is not None:
            call.mounted.limiter.release()
        if self._draining:
            self._check_idle()

    def _check_idle(self) -> None:
        if self._draining and not self._limiter.inside and not self._limiter.waiting:
            self._idle.set()


def _expire(call: Call) -> None:
    call.expired = True
    call.cancel()
