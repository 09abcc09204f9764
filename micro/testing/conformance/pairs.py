"""Two ends of a conversation, for the transport's suite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from micro.backend import Backend
from micro.errors import SocketClosed, TransportError
from micro.message import Message
from micro.testing.recorder import Arrivals, Echo, Recorder
from micro.transport.contract import Listener, Socket, Transport

__all__ = ["Pair", "dial", "echoing", "paired", "refusal", "round_trip", "transport_of", "try_send"]


class Pair(NamedTuple):
    """A dialled socket and the accepted one, with what each received; one message has passed."""

    near: Socket
    near_end: Recorder
    far: Socket
    far_end: Recorder
    listener: Listener


def transport_of(backend: Backend) -> Transport:
    """The backend's transport, which the suite is about."""
    assert backend.transport is not None, "the backend offers no transport"
    return backend.transport


async def dial(backend: Backend, listener: Listener, end: Recorder) -> Socket:
    """Dial as a client does that has found the listener in the registry."""
    return await transport_of(backend).dial(listener.address, end, metadata=listener.metadata)


@asynccontextmanager
async def echoing(backend: Backend) -> AsyncIterator[Listener]:
    """A listener that sends everything back."""
    async with await transport_of(backend).listen(Arrivals(Echo)) as listener:
        yield listener


@asynccontextmanager
async def paired(backend: Backend, other: Backend) -> AsyncIterator[Pair]:
    """Both ends of a socket, `backend` listening, `other` dialling."""
    arrivals, near_end = Arrivals(), Recorder()
    async with (
        await transport_of(backend).listen(arrivals) as listener,
        await dial(other, listener, near_end) as near,
    ):
        near.send(Message({}, b"first"))
        [far] = await arrivals.wait_for(1)
        far_end = arrivals.recorders[0]
        await far_end.wait_for(1)
        yield Pair(near, near_end, far, far_end, listener)


async def round_trip(backend: Backend, other: Backend) -> None:
    """When it is over, what was on its way between the two before it has arrived."""
    async with echoing(backend) as listener:
        end = Recorder()
        async with await dial(other, listener, end) as socket:
            socket.send(Message({}, b"there and back"))
            await end.wait_for(1)


def try_send(socket: Socket) -> None:
    """Send, unless the socket is closed already."""
    try:
        socket.send(Message({}, b"too late"))
    except SocketClosed:
        return


async def refusal(backend: Backend, listener: Listener) -> TransportError:
    """The error of dialling a listener that accepts no socket."""
    end = Recorder()
    try:
        socket = await dial(backend, listener, end)
    except TransportError as error:
        return error
    socket.send(Message({}, b"anyone?"))
    return await end.wait_closed()
