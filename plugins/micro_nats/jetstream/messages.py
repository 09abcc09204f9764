"""Events as NATS messages: headers of ours and of the server, times, the subjects of acks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from micro.broker.kept_types import Stored
from micro.errors import BadRequest
from micro.message import Message
from micro_nats.wire.envelope import CloseFrame
from micro_nats.wire.events import decode_event

__all__ = [
    "AckSubject",
    "own_headers",
    "read_ack_subject",
    "read_stored",
    "read_time",
    "schedule",
    "stored_headers",
    "write_time",
]

_SERVERS = "nats-"
_MESSAGE_ID = "Nats-Msg-Id"
_EVENT_ID = "Micro-Id"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# $JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<consumer sequence>.<time>.<pending>
_TOKENS = 9
# From nats-server 2.14 on, with a domain and the account's hash after $JS.ACK, and perhaps a token
# at the end.
_TOKENS_WITH_DOMAIN = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class AckSubject:
    """What the server tells in the reply subject of a delivery.

    Attributes:
        deliveries: How often it was delivered to this consumer.
        sequence: Its sequence in the stream.
        number: The number of this delivery on the consumer; without gaps.
        stored_at: Nanoseconds since 1970.
        pending: How many more wait for the consumer.
    """

    deliveries: int
    sequence: int
    number: int
    stored_at: int
    pending: int


def read_ack_subject(reply: str) -> AckSubject:
    """Read the reply subject of a delivery, of both generations.

    Raises:
        BadRequest: it is neither.
    """
    tokens = reply.split(".")
    first = 4 if len(tokens) < _TOKENS_WITH_DOMAIN else 6
    try:
        if len(tokens) < _TOKENS or tokens[1] != "ACK":
            raise ValueError(reply)
        numbers = [int(token) for token in tokens[first : first + 5]]
        deliveries, sequence, number, stored_at, pending = numbers
    except ValueError:
        raise BadRequest(f"{reply!r} is not the reply subject of a stored event") from None
    return AckSubject(
        deliveries=deliveries,
        sequence=sequence,
        number=number,
        stored_at=stored_at,
        pending=pending,
    )


def stored_headers(message: Message, id: str, *, unique: str, stream: str) -> dict[str, str]:
    """The headers to publish an event with.

    Headers of the message that begin with `Nats-` are left out: they are orders to the server,
    which a forwarded message must not repeat.

    Args:
        message: The event.
        id: Its id, for an event that has none in its own headers.
        unique: What the stream stores once.
        stream: The stream that must store it.
    """
    headers = own_headers(message.headers)
    if id != unique:
        headers.setdefault(_EVENT_ID, id)
    headers[_MESSAGE_ID] = unique
    headers["Nats-Expected-Stream"] = stream
    return headers


def schedule(headers: Mapping[str, str], at: datetime, target: str, id: str) -> dict[str, str]:
    """The headers of an event that the server holds until `at`, then stores on `target`."""
    return {
        # The server removes Nats-Msg-Id when the time has come.
        _EVENT_ID: id,
        **headers,
        "Nats-Schedule": f"@at {write_time(at)}",
        "Nats-Schedule-Target": target,
    }


def own_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers without those of the server."""
    return {name: value for name, value in headers.items() if name[:5].lower() != _SERVERS}


def read_stored(
    topic: str,
    headers: Mapping[str, str] | None,
    body: bytes,
    place: AckSubject,
    partition: int | None,
) -> Stored:
    """Read a delivered event."""
    given = headers or {}
    id = given.get(_EVENT_ID) or given.get(_MESSAGE_ID)
    message = Message(own_headers(given), body) if id else _read_plain(body, given)
    return Stored(
        topic=topic,
        id=id or f"{topic}:{place.sequence}",
        sequence=place.sequence,
        message=message,
        stored_at=_EPOCH + timedelta(microseconds=place.stored_at // 1000),
        partition=partition,
    )


def _read_plain(body: bytes, headers: Mapping[str, str]) -> Message:
    """An event that was published without an id: perhaps in an envelope of plain events."""
    try:
        found = decode_event(body, own_headers(headers))
    except CloseFrame:
        found = []
    return found[0] if len(found) == 1 else Message(own_headers(headers), body)


def read_time(text: str) -> datetime:
    """A time as Go writes it, with up to nine digits of a second, in UTC."""
    whole, _, rest = text.partition(".")
    if not rest:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    zone = rest[len(digits) :].replace("Z", "+00:00")
    return datetime.fromisoformat(f"{whole}.{digits[:6]:0<6}{zone}").astimezone(UTC)


def write_time(time: datetime) -> str:
    """A time as Go reads it, in UTC."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
