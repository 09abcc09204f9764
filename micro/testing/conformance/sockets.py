"""What every socket must do with messages."""
# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

import asyncio

import pytest

from micro.backend import Backend
from micro.errors import PayloadTooLarge
from micro.message import Message
from micro.testing.conformance.pairs import (
    dial,
    echoing,
    paired,
    transport_of,
)
from micro.testing.recorder import Recorder

__all__ = ["SocketConformance"]


class SocketConformance:
    """Messages; a part of `TransportConformance`."""

    max_payload: int = 1024 * 1024
    many: int = 100

    async def test_messages_arrive_whole_and_in_order(
        self, backend: Backend, other: Backend
    ) -> None:
        sent = [
            Message({}, b""),
            Message({"Name": "a", "name": "b"}, bytes(range(256))),
            Message({"Empty": "", "Text": "Zoë ☃ \r\n: x"}, b"\r\n\r\n"),
            Message({f"Header-{n}": str(n) for n in range(50)}, b"\x00"),
        ]
        async with paired(backend, other) as pair:
            for message in sent:
                pair.near.send(message)
            received = await pair.far_end.wait_for(1 + len(sent))

            assert received[1:] == sent

    async def test_both_directions_keep_their_order(self, backend: Backend, other: Backend) -> None:
        bodies = [b"%d" % number for number in range(500)]
        async with echoing(backend) as listener:
            end = Recorder()
            async with await dial(other, listener, end) as socket:
                for body in bodies:
                    socket.send(Message({}, body))
                    await socket.drain()
                await end.wait_for(len(bodies))

            assert end.bodies == bodies

    async def test_order_holds_across_turns_of_the_loop(
        self, backend: Backend, other: Backend
    ) -> None:
        bodies = [b"%d" % number for number in range(60)]
        async with paired(backend, other) as pair:
            for number, body in enumerate(bodies):
                pair.near.send(Message({}, body))
                if number % 3 == 0:
                    await asyncio.sleep(0)
            await pair.far_end.wait_for(1 + len(bodies))

            assert pair.far_end.bodies[1:] == bodies

    async def test_bundle_numbers_never_fall(self, backend: Backend, other: Backend) -> None:
        async with paired(backend, other) as pair:
            numbers: list[int] = []
            for _ in range(10):
                numbers += [pair.near.send(Message({}, b"x" * 10)) for _ in range(5)]
                await asyncio.sleep(0)
            await pair.far_end.wait_for(51)

            assert numbers == sorted(numbers)
            assert min(numbers) >= 0

    async def test_large_messages_pass_both_ways(self, backend: Backend, other: Backend) -> None:
        large = bytes(range(256)) * (self.max_payload // 512)
        async with echoing(backend) as listener:
            end = Recorder()
            async with await dial(other, listener, end) as socket:
                for number in range(3):
                    socket.send(Message({"Number": str(number)}, large))
                await end.wait_for(3)

            assert [m.headers["Number"] for m in end.messages] == ["0", "1", "2"]
            assert all(body == large for body in end.bodies)

    async def test_a_message_over_the_limit_is_refused_and_harms_nothing(
        self, backend: Backend, other: Backend
    ) -> None:
        async with paired(backend, other) as pair:
            with pytest.raises(PayloadTooLarge):
                pair.near.send(Message({}, b"x" * (self.max_payload + 1)))
            with pytest.raises(PayloadTooLarge):
                pair.far.send(Message({}, b"x" * (self.max_payload + 1)))
            pair.near.send(Message({}, b"after"))
            pair.far.send(Message({}, b"after"))
            await pair.far_end.wait_for(2)
            await pair.near_end.wait_for(1)

            assert pair.far_end.bodies == [b"first", b"after"]
            assert pair.near_end.bodies == [b"after"]

    async def test_each_end_knows_the_other_by_its_address(
        self, backend: Backend, other: Backend
    ) -> None:
        async with (
            paired(backend, other) as pair,
            await dial(other, pair.listener, Recorder()) as second,
        ):
            assert pair.near.remote == pair.far.local == pair.listener.address
            assert pair.far.remote == pair.near.local
            assert second.local != pair.near.local

    async def test_metadata_of_the_listener_is_optional_when_dialling(
        self, backend: Backend, other: Backend
    ) -> None:
        async with echoing(backend) as listener:
            end = Recorder()
            transport = transport_of(other)
            async with await transport.dial(listener.address, end) as socket:
                socket.send(Message({"A": "b"}, b"plain"))
                await end.wait_for(1)

            assert end.messages == [Message({"A": "b"}, b"plain")]

    async def test_many_sockets_at_once_stay_apart(self, backend: Backend, other: Backend) -> None:
        ends = [Recorder() for _ in range(self.many)]
        async with echoing(backend) as listener:
            sockets = [await dial(other, listener, end) for end in ends]
            for turn in range(3):
                for number, socket in enumerate(sockets):
                    socket.send(Message({}, b"%d of %d" % (turn, number)))
            for end in ends:
                await end.wait_for(3)
            for socket in sockets:
                socket.close()

        for number, end in enumerate(ends):
            assert end.bodies == [b"%d of %d" % (turn, number) for turn in range(3)]

    async def test_one_noisy_socket_harms_no_other(self, backend: Backend, other: Backend) -> None:
        noise, quiet = Recorder(), Recorder()
        async with echoing(backend) as listener:
            loud = await dial(other, listener, noise)
            async with loud, await dial(other, listener, quiet) as calm:
                for number in range(2000):
                    loud.send(Message({}, b"x" * 100))
                    if number == 1000:
                        calm.send(Message({}, b"calm"))
                    await loud.drain()
                await quiet.wait_for(1)
                await noise.wait_for(2000)

            assert quiet.bodies == [b"calm"]
            assert quiet.closings == []
