"""One event on its way to be stored."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from micro.broker.kept_types import Receipt
from micro.errors import ConnectionLost, DeadlineExceeded, MicroError, Unavailable
from micro_nats.jetstream.errors import read_error

__all__ = ["Outgoing", "Publication", "late", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """An event to be stored.

    Attributes:
        subject: Where it is published.
        stream: The stream that is expected to store it.
        id: Its id.
        headers: All headers, those for the server as well.
        body: Its bytes.
        dedup: Seconds in which the stream stores an id once.
    """

    subject: str
    stream: str
    id: str
    headers: dict[str, str]
    body: bytes
    dedup: float


class Publication:
    """An event that was published, until its acknowledgement comes.

    Args:
        number: Its place in the order of the calls.
        event: The event.
        block: Its headers as bytes.
        give_up_at: When it fails, on the monotonic clock.

    Attributes:
        answer: The receipt, or why there is none.
        sent_at: When it was last sent; 0 before it was.
        sends: How often it was sent.
        refusals: How often the server said that no one takes it.
        size: Bytes of headers and body.
    """

    __slots__ = (
        "answer",
        "block",
        "event",
        "give_up_at",
        "number",
        "refusals",
        "sends",
        "sent_at",
        "size",
    )

    def __init__(self, number: int, event: Outgoing, block: bytes, give_up_at: float) -> None:
        self.number = number
        self.event = event
        self.block = block
        self.give_up_at = give_up_at
        self.answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.sent_at = 0.0
        self.sends = 0
        self.refusals = 0
        self.size = len(block) + len(event.body)

    def resolve(self, data: bytes) -> None:
        """Take the server's acknowledgement."""
        try:
            answer = json.loads(data)
            error = answer.get("error")
            sequence = int(answer.get("seq", 0))
        except (ValueError, TypeError, AttributeError):
            # Something else than a stream answers at this subject.
            self.fail(Unavailable(f"the answer for the event {self.event.id!r} is no receipt"))
            return
        if error:
            self.fail(read_error(error, f"storing on {self.event.subject!r}"))
            return
        # After a repeat the first one may have been stored without an answer: that is no duplicate.
        duplicate = self.sends == 1 and bool(answer.get("duplicate"))
        self.answer.set_result(
            Receipt(id=self.event.id, stored=True, sequence=sequence, duplicate=duplicate)
        )

    def fail(self, error: MicroError) -> None:
        """End it with an error, unless it has ended."""
        if not self.answer.done():
            self.answer.set_exception(error)

    def give_up(self, connected: bool) -> None:
        """End it because its time is over."""
        if self.sends and self.refusals == self.sends:
            text = f"no stream takes the event now: {self.event.subject!r} has no leader"
            self.fail(Unavailable(text, refused=True))
        elif not connected:
            self.fail(lost(self.event, "no connection to the NATS server"))
        else:
            self.fail(late(self.event, "the server has not confirmed it in time"))


def late(event: Outgoing, reason: str) -> DeadlineExceeded:
    """The error of an event that may or may not be stored, with its id."""
    text = f"event {event.id!r} on {event.subject!r}: {reason}"
    return DeadlineExceeded(text, id="micro.nats", details={"event": event.id})


def lost(event: Outgoing, reason: str) -> ConnectionLost:
    """The error of an event whose answer went with the connection, with its id."""
    text = f"event {event.id!r} on {event.subject!r}: {reason}"
    return ConnectionLost(text, details={"event": event.id})
