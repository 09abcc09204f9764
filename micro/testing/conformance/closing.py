"""What every socket must do when it is closed."""
# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

import pytest

from micro.backend import Backend
from micro.errors import SocketClosed
from micro.message import Message
from micro.testing.conformance.pairs import (
    dial,
    echoing,
    paired,
    round_trip,
    try_send,
)
from micro.testing.recorder import Recorder

__all__ = ["ClosingConformance"]


class ClosingConformance:
    """Closing; a part of `TransportConformance`."""

    async def test_closing_is_noticed_after_all_that_was_sent(
        self, backend: Backend, other: Backend
    ) -> None:
        async with paired(backend, other) as pair:
            for number in range(100):
                pair.near.send(Message({}, b"%d" % number))
            pair.near.close()
            error = await pair.far_end.wait_closed()

            assert isinstance(error, SocketClosed)
            assert pair.far_end.bodies[1:] == [b"%d" % number for number in range(100)]
            assert isinstance(await pair.near_end.wait_closed(), SocketClosed)

    async def test_the_accepting_end_can_close_as_well(
        self, backend: Backend, other: Backend
    ) -> None:
        async with paired(backend, other) as pair:
            for number in range(100):
                pair.far.send(Message({}, b"%d" % number))
            pair.far.close()
            error = await pair.near_end.wait_closed()

            assert isinstance(error, SocketClosed)
            assert pair.near_end.bodies == [b"%d" % number for number in range(100)]
            assert isinstance(await pair.far_end.wait_closed(), SocketClosed)

    async def test_a_peer_that_closes_does_not_disown_what_it_took(
        self, backend: Backend, other: Backend
    ) -> None:
        async with paired(backend, other) as pair:
            taken = pair.near.send(Message({}, b"taken"))
            await pair.far_end.wait_for(2)
            pair.far.close()
            error = await pair.near_end.wait_closed()

            assert isinstance(error, SocketClosed)
            assert error.bundle is None or error.bundle > taken

    async def test_each_end_is_closed_exactly_once(self, backend: Backend, other: Backend) -> None:
        async with paired(backend, other) as pair:
            pair.near.close()
            pair.far.close()
            pair.near.close()
            await pair.near_end.wait_closed()
            await pair.far_end.wait_closed()
            await pair.listener.aclose()
            pair.far.close()
            await round_trip(backend, other)

            assert len(pair.near_end.closings) == 1
            assert len(pair.far_end.closings) == 1

    async def test_nothing_is_received_after_closing(
        self, backend: Backend, other: Backend
    ) -> None:
        async with paired(backend, other) as pair:
            pair.near.close()
            for _ in range(10):
                try_send(pair.far)
            await pair.far_end.wait_closed()
            await round_trip(other, backend)
            await round_trip(backend, other)

            assert pair.near_end.messages == []
            assert pair.near_end.late == []
            assert pair.far_end.late == []

    async def test_sending_on_a_closed_socket_raises(
        self, backend: Backend, other: Backend
    ) -> None:
        async with paired(backend, other) as pair:
            pair.near.close()
            with pytest.raises(SocketClosed):
                pair.near.send(Message({}, b""))
            await pair.far_end.wait_closed()
            with pytest.raises(SocketClosed):
                pair.far.send(Message({}, b""))

    async def test_leaving_a_socket_closes_it(self, backend: Backend, other: Backend) -> None:
        async with paired(backend, other) as pair:
            async with pair.near:
                pair.near.send(Message({}, b"last"))

            assert isinstance(await pair.far_end.wait_closed(), SocketClosed)
            assert pair.far_end.bodies == [b"first", b"last"]

    async def test_closing_one_socket_leaves_the_others(
        self, backend: Backend, other: Backend
    ) -> None:
        async with paired(backend, other) as pair, echoing(backend) as listener:
            end = Recorder()
            async with await dial(other, listener, end) as socket:
                pair.near.close()
                await pair.far_end.wait_closed()
                socket.send(Message({}, b"still here"))
                await end.wait_for(1)

                assert end.closings == []
