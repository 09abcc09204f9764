"""The headers of stored events: what a publisher writes, and what the engine notes on copies.

Stored events outlive the release that wrote them, so no name here changes its meaning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from micro.errors import UsageError
from micro.wire.headers import CONTENT_TYPE, ID, TOPIC, application_headers

__all__ = [
    "ATTEMPT",
    "COPY",
    "DEAD",
    "NOT_BEFORE",
    "PUBLISHED",
    "REPLAY",
    "SCHEMA",
    "SEQUENCE",
    "STORED",
    "check_event_id",
    "stored_headers",
    "without_control",
]

SCHEMA = "Micro-Schema"
"""Version and hash of the schema that an event was written with: `2:9f86d081884c`."""
PUBLISHED = "Micro-Published"
"""When the publisher stored it, by its own clock: `2026-11-27T22:00:00.000Z`."""
ATTEMPT = "Micro-Attempt"
"""On a copy that is stored again: attempts that failed so far."""
NOT_BEFORE = "Micro-Not-Before"
"""On a copy that is stored again: seconds since 1970 before which it is not handled."""
SEQUENCE = "Micro-Sequence"
"""On a copy: the sequence of the event in its topic."""
COPY = "Micro-Copy"
"""On a copy: how many copies of the event there were, this one included."""
STORED = "Micro-Stored"
"""On a copy: seconds since 1970 when the event itself was stored."""
REPLAY = "Micro-Replay"
"""On a dead letter that was replayed: how often."""
DEAD = "Micro-Dead-"
"""Before the names of all headers that are added to a dead letter."""

_USABLE_ID = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")


def stored_headers(
    topic: str, id: str, content_type: str, schema: str, given: Mapping[str, str]
) -> dict[str, str]:
    """The headers of an event that is about to be stored.

    Args:
        topic: The topic's name.
        id: The event's id.
        content_type: How the body is written.
        schema: See `SCHEMA`.
        given: The application's own headers; those of the framework among them are left out.

    Raises:
        UsageError: one is a control header of NATS.
    """
    headers = application_headers(given)
    for name in given:
        lower = name.lower()
        if lower.startswith("nats-"):
            raise UsageError(
                f"header {name!r} is a control header of NATS, and the framework sets those:"
                " choose another name, or use id= for an event's id"
            )
        if lower.startswith("micro-"):
            headers.pop(name, None)
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    own = {CONTENT_TYPE: content_type, ID: id, TOPIC: topic, SCHEMA: schema, PUBLISHED: now}
    return {**headers, **own}


def without_control(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers without the broker's own, so that a handler can hand them on."""
    return {name: value for name, value in headers.items() if name[:5].lower() != "nats-"}


def check_event_id(id: object) -> str:
    """Return an event's id if it can be used.

    Raises:
        UsageError: it is not text, empty, longer than 255 characters, or not printable ASCII.
    """
    if isinstance(id, str) and _USABLE_ID.fullmatch(id):
        return id
    raise UsageError(f"an event's id is 1 to 255 printable ASCII characters, got {id!r}")
