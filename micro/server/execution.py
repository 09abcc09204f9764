"""Running the handler of one call and sending its response."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

from micro.codec import Codecs
from micro.codec.contract import Decoder, Encoder
from micro.concurrency.threads import Threads
from micro.context import Context, ambient_context
from micro.errors import DeadlineExceeded, ResourceExhausted
from micro.handlers.endpoint import Endpoint
from micro.message import new_message
from micro.middleware import Next, Request, Response
from micro.server.answers import encode_response, own_headers
from micro.server.bodies import Bodies
from micro.server.call import Call
from micro.server.outcomes import Outcomes
from micro.server.stream import run_stream
from micro.telemetry.metrics import ServerCounters
from micro.wire.compression import CONTENT_ENCODING, MIN_COMPRESS_BYTES
from micro.wire.headers import CONTENT_TYPE, reply_headers

__all__ = ["Execution", "Host"]

_MAX_CODERS = 16
"""Content types kept for each endpoint; a peer may spell one in countless ways."""
_JSON = "application/json"

_call_in_thread: ContextVar[Call] = ContextVar("micro_call_in_thread")
"""The call whose plain handler is about to run in a thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the calls of one server share.

    Attributes:
        service: The service's name.
        codecs: Reads requests and writes responses.
        counters: Where calls are counted.
        outcomes: Answers those that fail.
        threads: Where plain `def` handlers run.
        stopping: Set when the service begins to stop.
    """

    service: str
    codecs: Codecs
    counters: ServerCounters
    outcomes: Outcomes
    threads: Threads
    stopping: asyncio.Event


class Execution:
    """Runs calls.

    Args:
        host: What they share.
        began: Called when a call's task runs its first step.
        finished: Called when a call has ended.
        thread_ended: Called when a plain handler's thread is free, perhaps after its call.
    """

    __slots__ = (
        "_began",
        "_bodies",
        "_codecs",
        "_counters",
        "_finished",
        "_outcomes",
        "_service",
        "_stopping",
        "_thread_ended",
        "_threads",
    )

    def __init__(
        self,
        host: Host,
        *,
        began: Callable[[], None],
        finished: Callable[[Call], None],
        thread_ended: Callable[[Call], None],
    ) -> None:
        self._service = host.service
        self._codecs = host.codecs
        self._counters = host.counters
        self._outcomes = host.outcomes
        self._threads = host.threads
        self._stopping = host.stopping
        self._bodies = Bodies(host.service)
        self._began = began
        self._finished = finished
        self._thread_ended = thread_ended

    async def run(self, call: Call) -> None:
        """Run one call in this task, and answer it whatever happens."""
        call.begun = True
        self._began()
        deadline = call.deadline
        if call.dropped or (deadline is not None and deadline.at <= time.monotonic()):
            self._outcomes.unstarted(call)
            self._finished(call)
            return
        context = Context(
            self._service,
            call.mounted.endpoint.name,
            call.headers,
            deadline,
            call.replies.remote,
            call.id,
        )
        context.stopping_event = self._stopping
        ambient_context.set(context)
        self._counters.handled += 1
        try:
            if call.window is None:
                await self._answer(call, context)
            else:
                await self._stream(call)
        except asyncio.CancelledError as error:
            if self._outcomes.cancelled(call, error):
                raise
        except GeneratorExit as error:
            # Closing this coroutine, as the end of the loop does, raises it here as well.
            if not _runs(call):
                raise
            self._outcomes.failed(call, error)
        except BaseException as error:
            self._outcomes.failed(call, error)
        finally:
            context.ambient_deadline = None
            self._finished(call)

    def innermost(self, endpoint: Endpoint) -> Next:
        """The step inside all layers: it calls the handler."""

        async def call_handler(request: Request) -> Response:
            context = Context.current()
            context.headers = request.headers
            result = endpoint.bind(request.value, context)
            if not endpoint.kind.streams_responses:
                result = await result
            return Response(result, context.reply_headers)

        async def call_in_thread(request: Request) -> Response:
            context = Context.current()
            context.headers = request.headers
            call = _call_in_thread.get()
            run = partial(self._in_thread, call)
            if endpoint.bind_thread is not None:
                result = await endpoint.bind_thread(request.value, context, run)
            else:
                result = await run(endpoint.bind, request.value, context)
            return Response(result, context.reply_headers)

        return call_in_thread if endpoint.blocking else call_handler

    def _in_thread(
        self, call: Call, function: Callable[..., Any], *args: Any
    ) -> Coroutine[Any, Any, Any]:
        """Run a function in a thread, which keeps the call's slots until it has ended."""
        call.threaded = True
        name, ended = call.mounted.endpoint.name, partial(self._thread_ended, call)
        return self._threads.run(name, _run_in_time, call, function, *args, ended=ended)

    async def _answer(self, call: Call, context: Context) -> None:
        """Run a unary handler and send its response."""
        mounted = call.mounted
        endpoint = mounted.endpoint
        headers = call.headers
        kind = headers.get(CONTENT_TYPE, _JSON)
        decode, encode = mounted.coders.get(kind) or self._coders(call)
        if CONTENT_ENCODING in headers:
            await self._bodies.expand_request(call)
        value = decode(call.body) if endpoint.takes_request else None
        if mounted.is_bare:
            result = await endpoint.bind(value, context)
            own = context.reply_headers
        else:
            response = await self._invoke(call, value)
            result, own = response.value, response.headers
        reply = reply_headers(headers, kind)
        if own:
            reply = {**own_headers(own), **reply}
        message = new_message((reply, encode_response(encode, result, call)))
        if call.answered:
            return  # the service stopped first, and said so
        if len(message.body) >= MIN_COMPRESS_BYTES:
            await call.replies.send_large(call, message)
            return
        try:
            call.replies.send(message)
        except ResourceExhausted:
            await call.replies.send_large(call, message)

    async def _stream(self, call: Call) -> None:
        if CONTENT_ENCODING in call.headers:
            await self._bodies.expand_request(call)
        await run_stream(call, self._invoke, self._coders(call), self._bodies)

    def _invoke(self, call: Call, value: Any) -> Awaitable[Response]:
        """Run the layers and the handler; a stream's response has an async iterator as value."""
        mounted = call.mounted
        name = mounted.endpoint.name
        if mounted.endpoint.blocking:
            _call_in_thread.set(call)
        return mounted.chain(
            Request("server", self._service, name, dict(call.headers), value, call.deadline)
        )

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
            if len(mounted.coders) < _MAX_CODERS:
                mounted.coders[kind] = coders
        return coders


def _run_in_time(call: Call, function: Callable[..., Any], *args: Any) -> Any:
    """Run a plain handler, unless its time was over before its thread began."""
    if call.deadline is not None and call.deadline.remaining() <= 0:
        raise DeadlineExceeded("the request waited too long")
    meter = call.meter
    return function(*args) if meter is None else meter.call(function, *args)


def _runs(call: Call) -> bool:
    """Whether a call's task is the one that runs now."""
    try:
        return asyncio.current_task() is call.task
    except RuntimeError:
        return False  # no event loop is running
