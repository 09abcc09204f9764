"""One request on its way through the server, and the endpoint it is for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from micro.codec.contract import Decoder, Encoder
from micro.concurrency.limiter import MESSAGE_OVERHEAD_BYTES, Limiter
from micro.deadline import Deadline
from micro.errors import CodecError, MicroError
from micro.handlers.endpoint import Endpoint
from micro.middleware import Next
from micro.wire.flow import ReceiveWindow, SendCredit
from micro.wire.headers import ID, STREAM

if TYPE_CHECKING:
    from micro.server.channel import Session

__all__ = ["Call", "Mounted", "weight_of", "write_response"]


class Mounted:
    """An endpoint with all that is the same for every call of it."""

    __slots__ = ("chain", "coders", "endpoint", "limiter", "streams")

    def __init__(
        self, endpoint: Endpoint, chain: Next | None, limiter: Limiter[Call] | None
    ) -> None:
        self.endpoint = endpoint
        self.chain = chain
        self.limiter = limiter
        self.streams = endpoint.kind.is_stream
        self.coders: dict[str, tuple[Decoder, Encoder]] = {}


class Call:
    """One request on its way through the server."""

    __slots__ = (
        "begun",
        "body",
        "deadline",
        "dropped",
        "expired",
        "headers",
        "id",
        "inflow",
        "mounted",
        "outflow",
        "session",
        "slot",
        "stopped",
        "task",
        "withdraw",
    )

    def __init__(
        self,
        session: Session,
        mounted: Mounted,
        headers: dict[str, str],
        body: bytes,
        deadline: Deadline | None,
    ) -> None:
        self.session = session
        self.mounted = mounted
        self.headers = headers
        self.body = body
        self.deadline = deadline
        self.id = headers.get(STREAM) or headers.get(ID, "")
        self.task: asyncio.Task[None] | None = None
        self.slot: set[Call] | None = None
        self.begun = False
        self.dropped = False
        self.expired = False
        self.stopped = False
        self.inflow: ReceiveWindow | None = None
        self.outflow: SendCredit | None = None
        self.withdraw: Callable[[Call], None] | None = None

    def cancel(self) -> None:
        """The client is gone or wants it no more."""
        if self.task is not None:
            # Cancelling a task that has not begun would keep it from cleaning up after itself.
            self.dropped = True
            if self.begun:
                self.task.cancel()
        elif self.withdraw is not None:
            self.withdraw(self)

    def client_left(self) -> None:
        """The client closed its stream: nobody reads what the handler still has to say."""
        if self.mounted.endpoint.kind.streams_requests:
            return
        self.cancel()

    def outflow_fails(self, error: MicroError) -> None:
        """No more can be sent, because of `error`."""
        if self.outflow is not None:
            self.outflow.fail(error)


def weight_of(call: Call) -> int:
    """The bytes that a call holds while it waits."""
    return MESSAGE_OVERHEAD_BYTES + len(call.body)


def write_response(encode: Encoder, response: Any) -> bytes:
    """Write a handler's response; one that does not fit its type is no fault of the client's.

    Raises:
        RuntimeError: it cannot be written.
    """
    try:
        return encode(response)
    except CodecError as error:
        raise RuntimeError(f"the handler's response cannot be written: {error.detail}") from error
