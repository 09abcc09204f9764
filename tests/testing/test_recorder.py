from __future__ import annotations

import asyncio

import pytest

import micro.testing
from micro.errors import SocketClosed
from micro.message import Message
from micro.testing import Recorder


async def test_a_wait_ends_when_enough_is_there() -> None:
    recorder = Recorder()
    asyncio.get_running_loop().call_soon(recorder.received, [Message({}, b"1"), Message({}, b"2")])

    assert [message.body for message in await recorder.wait_for(2)] == [b"1", b"2"]


async def test_a_wait_that_fails_says_what_was_there() -> None:
    recorder = Recorder()
    recorder.received([Message({}, b"1")])

    with pytest.raises(AssertionError, match="1 of 2 messages"):
        await recorder.wait_for(2, timeout=0.01)
    with pytest.raises(AssertionError, match="not closed"):
        await recorder.wait_closed(timeout=0.01)


async def test_messages_after_the_close_are_noticed() -> None:
    recorder = Recorder()
    recorder.closed(SocketClosed())
    recorder.received([Message({}, b"late")])
    recorder.closed(SocketClosed())

    assert recorder.messages == []
    assert [message.body for message in recorder.late] == [b"late"]
    assert len(recorder.closings) == 2


def test_every_public_name_is_there() -> None:
    names = micro.testing.__all__

    assert all(getattr(micro.testing, name) is not None for name in names)


@pytest.mark.parametrize("name", ["nonsense", "__wrapped__"])
def test_a_name_that_is_not_there_is_missed(name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(micro.testing, name)
