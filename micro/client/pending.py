"""Calls that wait for their replies, and what the end of their socket means for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from copy import copy
from functools import partial
from typing import Any, NamedTuple

from micro.deadline import Deadline, enforce
from micro.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InternalError,
    MicroError,
    NoResponders,
    ResourceExhausted,
    TransportError,
)
from micro.message import Message
from micro.wire.assembler import Assembler
from micro.wire.compression import decompress

__all__ = [
    "Pending",
    "Reply",
    "decompressed",
    "end_all",
    "error_for",
    "expire_reply",
    "new_pending",
]

Reply = asyncio.Future[Message]

_MAX_CAPACITY_WAIT_SECONDS = 30.0
"""For a full socket to take a request whose call has no deadline of its own."""


class Pending(NamedTuple):
    """A call that waits for its reply.

    Attributes:
        reply: The reply, when it arrives.
        bundle: The one that has the last frame of the request; `None` while frames are unsent.
        slot: Where its deadline waits.
    """

    reply: Reply
    bundle: int | None
    slot: set[Reply] | None


_new: Any = partial(tuple.__new__, Pending)
new_pending: Callable[[tuple[Reply, int | None, set[Reply] | None]], Pending] = _new
"""Makes one without the call of a Python function; see `new_message`."""


def expire_reply(reply: Reply) -> None:
    """End the wait for a reply whose deadline has passed."""
    if not reply.done():
        reply.set_exception(DeadlineExceeded("no answer in time", id="micro.client"))


def end_all(pending: Iterable[Pending], error: TransportError, *, alone: bool) -> None:
    """End calls whose socket was closed, each with what the close means for it."""
    for call in pending:
        if call.slot is not None:
            call.slot.discard(call.reply)
        if not call.reply.done():
            call.reply.set_exception(error_for(error, call.bundle, alone=alone))


def error_for(error: TransportError, bundle: int | None, *, alone: bool) -> TransportError:
    """The error of one call when its socket was closed.

    Args:
        error: Why the socket was closed.
        bundle: The bundle with the call's last frame; `None` if it was not sent.
        alone: Whether it was the only call in flight.
    """
    if error.bundle is None and not isinstance(error, NoResponders):
        return type(error)(error.detail, id="micro.client", refused=error.refused)
    arrived = bundle is not None and error.bundle is not None and bundle < error.bundle
    # Without bundles it is not known which of the messages reached no one.
    if arrived or (error.bundle is None and not alone):
        return ConnectionLost(error.detail, id="micro.client")
    if isinstance(error, NoResponders):
        return NoResponders(error.detail, bundle=error.bundle)
    return type(error)(error.detail, id="micro.client", refused=True)


def decompressed(answer: Message) -> Message:
    """An answer without its content encoding, in the caller's task: one at a time is held."""
    try:
        return Message(answer.headers, decompress(*answer))
    except MicroError as error:
        raise InternalError(
            f"the answer cannot be decompressed: {error.detail}", id="micro.client"
        ) from error


async def send_later(
    assembler: Assembler, message: Message, deadline: Deadline | None, error: MicroError
) -> int:
    """Send a request that the socket refused, when it is full no more; the bundle's number.

    Raises:
        MicroError: the socket's error, when it is another one.
        ResourceExhausted: the socket stayed full, for 30 s where the call has no deadline.
        DeadlineExceeded: it stayed full until the deadline.
    """
    if not isinstance(error, ResourceExhausted):
        # Whatever the reason, it was not sent, so it did not run. The transport's own error may
        # be shared: the caller gets a copy.
        mine = copy(error)
        mine.refused = True
        raise mine from error
    limit = deadline or Deadline.after(_MAX_CAPACITY_WAIT_SECONDS)
    try:
        async with enforce(limit, "sending the request"):
            return await assembler.send_frame(message)
    except DeadlineExceeded as late:
        if deadline is not None:
            raise
        raise ResourceExhausted(error.detail, id="micro.client", refused=True) from late
