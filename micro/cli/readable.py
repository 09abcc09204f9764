"""Whether the code can read the events that a topic holds."""

from __future__ import annotations

from typing import Any

from micro.broker.kept import KeptBroker
from micro.broker.kept_types import Stored, TopicState
from micro.codec import Codecs, default_codecs
from micro.errors import CodecError
from micro.events.content import guess_content_type, read_headers
from micro.events.evolution import read_event
from micro.topic import Topic

__all__ = ["unreadable"]

_MOST_SHOWN = 3


async def unreadable(
    broker: KeptBroker, topic: Topic[Any], state: TopicState, *, count: int
) -> list[str]:
    """Read the newest events of a topic; returns a sentence for each of the first that fail."""
    codecs, errors, failed = Codecs(default_codecs()), list[str](), 0
    start = max(state.first_sequence, state.last_sequence - count + 1, 1)
    async with broker.read(topic.name, start=start, end=state.last_sequence) as events:
        async for event in events:
            error = _error_of(codecs, topic, event)
            failed += error is not None
            if error is not None and len(errors) < _MOST_SHOWN:
                errors.append(f"event {event.sequence} ({event.id}): {error}")
    return [*errors, f"and {failed - len(errors)} more"] if failed > len(errors) else errors


def _error_of(codecs: Codecs, topic: Topic[Any], event: Stored) -> str | None:
    headers, content_type = read_headers(event.message, guess_content_type(codecs, topic.type))
    try:
        read_event(codecs, topic, topic.type, headers, (content_type, event.message.body))
    except CodecError as error:
        return error.detail
    except Exception as error:  # an upcast is the application's own and can raise anything
        return f"{type(error).__name__}: {error}"
    return None
