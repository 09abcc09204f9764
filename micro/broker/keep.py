"""How a topic is kept: for how long, how much of it, and what happens when it is full."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, NoReturn

from micro.broker.kept_types import Full, TopicSpec
from micro.concurrency.units import read_duration, read_size, where
from micro.errors import HandlerError

__all__ = ["DEFAULT_BYTES", "Keep", "Queue"]

DEFAULT_BYTES = "1GiB"
"""What a kept topic holds at most where the application gives no limit."""

_FULL = ("refuse", "discard_old")
_HOW = {
    "age": "a duration such as '7d', or None for no limit",
    "bytes": "a size such as '1GiB', or None for no limit",
    "messages": "a whole number of events, 1 or more, or None for no limit",
    "full": "'refuse' or 'discard_old'",
    "dedup": "a duration such as '2m', or 0 for none",
    "replicas": "'auto', or a whole number from 1 to 5",
    "stream": "the name of a stream that exists, or None",
    "idle": "a duration such as '7d', or None to keep every position",
}


@dataclass(frozen=True, init=False)
class Keep:
    """A kept topic: its events are stored, handled or not, until their age or a limit is reached.

    Args:
        age: How long an event is kept; `None` for no limit.
        bytes: The most that the topic holds; `None` for no limit.
        messages: The most events that it holds; `None` for no limit.
        full: What a full topic does with a new event: `refuse` it with `QueueFull`, or
            `discard_old` to remove the oldest one, unread or not.
        dedup: How long an id is remembered, so that an event published twice is stored once.
        replicas: Copies on different servers; `auto` lets the broker choose.
        stream: A stream of a platform team that has the topic, used as it is.
        idle: How long a position of one instance (`each_instance=True`) is kept without a reader.

    Attributes:
        age, dedup, idle: In seconds; 0 for no limit.
        bytes, messages: 0 for no limit.
        replicas: 0 where the broker chooses.
        stream: Empty for a stream of the framework's own.
        work: Whether it is a work queue.

    Raises:
        HandlerError: a value cannot be used; the text has file and line, and what to write.
    """

    age: float
    bytes: int
    messages: int
    full: Full
    dedup: float
    replicas: int
    stream: str
    idle: float
    work: bool

    def __init__(
        self,
        age: float | str | timedelta | None = "7d",
        *,
        bytes: int | str | None = DEFAULT_BYTES,
        messages: int | None = None,
        full: Full = "refuse",
        dedup: float | str | timedelta = "2m",
        replicas: int | Literal["auto"] = "auto",
        stream: str | None = None,
        idle: float | str | timedelta | None = "7d",
    ) -> None:
        values = {
            "age": _duration("age", age),
            "bytes": _size(bytes),
            "messages": _count("messages", messages, None),
            "full": full if full in _FULL else _refuse("full", full),
            "dedup": _duration("dedup", dedup),
            "replicas": _count("replicas", replicas, "auto"),
            "stream": _stream(stream),
            "idle": _duration("idle", idle),
            "work": isinstance(self, Queue),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def bounded(self) -> bool:
        """Whether it has a limit of bytes or events, so that it cannot fill a disk."""
        return bool(self.bytes or self.messages)

    def spec(self, topic: str) -> TopicSpec:
        """What a broker is asked for."""
        return TopicSpec(
            name=topic,
            age=self.age,
            bytes=self.bytes,
            messages=self.messages,
            work=self.work,
            full=self.full,
            dedup=self.dedup,
            replicas=self.replicas,
            place=self.stream,
        )


class Queue(Keep):
    """A work queue: each event goes to one subscriber and is removed once it was acknowledged.

    A full queue refuses new events with `QueueFull`.

    Args:
        messages: The most events that wait; `None` for no limit.
        bytes: The most bytes that wait; `None` for no limit.
        age: How long an event may wait; `None` for no limit.
        dedup: See `Keep`.
        replicas: See `Keep`.
        stream: See `Keep`.

    Raises:
        HandlerError: as `Keep`.
    """

    def __init__(
        self,
        messages: int | None = None,
        *,
        bytes: int | str | None = DEFAULT_BYTES,
        age: float | str | timedelta | None = None,
        dedup: float | str | timedelta = "2m",
        replicas: int | Literal["auto"] = "auto",
        stream: str | None = None,
    ) -> None:
        super().__init__(
            age, bytes=bytes, messages=messages, dedup=dedup, replicas=replicas, stream=stream
        )


def _duration(name: str, value: float | str | timedelta | None) -> float:
    if value is None:
        return 0.0
    try:
        seconds = read_duration(value)
    except ValueError:
        _refuse(name, value)
    # Zero would remove every event at once; it is not how "no limit" is written.
    return seconds if seconds or name == "dedup" else _refuse(name, value)


def _size(value: int | str | None) -> int:
    if value is None:
        return 0
    size = read_size(value)
    return size if type(size) is int and size > 0 else _refuse("bytes", value)


def _count(name: str, value: object, unset: str | None) -> int:
    if value == unset:
        return 0
    most = 5 if name == "replicas" else None
    if type(value) is int and value >= 1 and (most is None or value <= most):
        return value
    return _refuse(name, value)


def _stream(value: object) -> str:
    if value is None:
        return ""
    return (
        value
        if isinstance(value, str) and value.isprintable() and value
        else _refuse("stream", value)
    )


def _refuse(name: str, value: object) -> NoReturn:
    raise HandlerError(f"{where(__name__)}: {name} must be {_HOW[name]}; got {value!r}")
