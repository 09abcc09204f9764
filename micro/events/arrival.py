"""A delivery of a durable as the engine sees it: which event it is, and what its headers tell."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from micro.broker.kept import KeptDelivery
from micro.message import Message
from micro.wire.headers import ID
from micro.wire.stored import ATTEMPT, COPY, NOT_BEFORE, REPLAY, SEQUENCE, STORED

__all__ = ["Arrival", "count_in"]


class Arrival:
    """One delivery, of an event or of a copy that was stored again for this durable.

    Attributes:
        delivery: The delivery.
        durable: The position that it came to.
        headers: Its headers under their canonical names.
        content_type: How the body is written.
        id: The event's id, also on a copy.
        topic: The topic.
        sequence: The event's sequence in its topic, also on a copy.
        failed: Attempts that failed before this copy was stored.
        copies: How many copies of the event there were.
        replays: How often it was replayed as a dead letter.
        not_before: Seconds since 1970 before which it is not handled.
        probe: It is the one event that a pause lets through.
        stored_at: When the event itself was stored, or was replayed.
    """

    __slots__ = (
        "content_type",
        "copies",
        "delivery",
        "durable",
        "failed",
        "headers",
        "id",
        "not_before",
        "probe",
        "replays",
        "sequence",
        "stored_at",
        "topic",
    )

    def __init__(
        self, delivery: KeptDelivery, durable: str, headers: dict[str, str], content_type: str
    ) -> None:
        stored = delivery.stored
        self.delivery: KeptDelivery = delivery
        self.probe: bool = False
        self.durable: str = durable
        self.headers: dict[str, str] = headers
        self.content_type: str = content_type
        self.id: str = headers.get(ID) or stored.id
        self.topic: str = stored.topic
        self.copies: int = count_in(headers, COPY)
        copy = bool(self.copies)
        self.sequence: int = count_in(headers, SEQUENCE) if copy else stored.sequence
        self.failed: int = count_in(headers, ATTEMPT) if copy else 0
        self.replays: int = count_in(headers, REPLAY) if copy else 0
        self.not_before: float = _seconds(headers, NOT_BEFORE) if copy else 0.0
        first = _seconds(headers, STORED) if copy else 0.0
        self.stored_at: datetime = datetime.fromtimestamp(first, UTC) if first else stored.stored_at

    @property
    def body(self) -> bytes:
        """The event, written in its content type."""
        return self.delivery.message.body

    @property
    def place(self) -> str:
        """What tells this event from all others of the durable, the same on its copies."""
        return f"{self.durable}/{self.topic}/{self.sequence}"

    @property
    def key(self) -> str:
        """What tells this copy from all others."""
        return f"{self.place}/c{self.copies}"

    def copy(self, *, failed: int, due: float) -> Message:
        """The message of the next copy.

        Args:
            failed: Attempts that have failed.
            due: Seconds since 1970 before which it is not to be handled.
        """
        headers = {
            **self.delivery.message.headers,
            ID: self.id,
            COPY: str(self.copies + 1),
            SEQUENCE: str(self.sequence),
            ATTEMPT: str(failed),
            NOT_BEFORE: f"{due:.3f}",
            STORED: f"{self.stored_at.timestamp():.3f}",
        }
        return Message(headers, self.body)


def count_in(headers: Mapping[str, str], name: str) -> int:
    """A whole number that a header has; 0 for one that is absent or makes no sense."""
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def _seconds(headers: Mapping[str, str], name: str) -> float:
    whole, _, part = headers.get(name, "").partition(".")
    if whole.isascii() and whole.isdecimal() and len(whole) < 12:
        return float(f"{whole}.{part if part.isascii() and part.isdecimal() else 0}")
    return 0.0
