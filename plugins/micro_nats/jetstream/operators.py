"""Work of operators on durables: pausing them, and moving them to another event."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from micro.broker.kept_types import Start
from micro.errors import Conflict, NotFound, Unsupported
from micro_nats.jetstream.api import JetStreamApi
from micro_nats.jetstream.consumers import Consumers, start_config
from micro_nats.jetstream.messages import write_time
from micro_nats.jetstream.names import check_durable, durable_of, returns_consumer_name
from micro_nats.jetstream.topics import Topics

__all__ = ["Operators"]

_PAUSE_VERSION = (2, 11)
_MOVES = 5
_OF_A_START = ("deliver_policy", "opt_start_seq", "opt_start_time")


class Operators:
    """Pauses and moves durables; those that read them go on.

    Args:
        api: JetStream's API.
        topics: Knows where topics are.
    """

    def __init__(self, api: JetStreamApi, topics: Topics) -> None:
        self._api = api
        self._topics = topics
        self._consumers = Consumers(api)

    async def pause(self, topic: str, durable: str, until: datetime | None) -> None:
        """Pause or resume a durable; see `KeptBroker.pause`."""
        self._api.require(_PAUSE_VERSION, "pausing a durable")
        # Without a time it resumes.
        body = None if until is None else {"pause_until": write_time(until)}
        doing = f"pausing the position {durable!r}"
        for stream, name in await self._found(topic, durable):
            subject = f"CONSUMER.PAUSE.{stream}.{name}"
            await self._api.request(subject, body, doing=doing)

    async def reset(self, topic: str, durable: str, start: Start) -> None:
        """Move a durable; see `KeptBroker.reset`. What was stored for it alone stays as it is."""
        home = await self._topics.home(topic)
        for stream, name in await self._found(topic, durable):
            if stream == home.stream:
                await self._move(stream, name, start)

    async def _found(self, topic: str, durable: str) -> list[tuple[str, str]]:
        """The consumers that make a durable, each with its stream."""
        check_durable(durable)
        home, names = await self._topics.home(topic), self._topics.names
        found = [
            (home.stream, name)
            for name in await self._consumers.names(home.stream)
            if durable_of(name) == durable
        ]
        for partition in (None, *range(home.partitions)):
            name = returns_consumer_name(durable, home.stream, partition)
            if await self._consumers.find(names.returns, name) is not None:
                found.append((names.returns, name))
        if not found:
            raise NotFound(f"the topic {topic!r} has no position {durable!r}")
        return found

    async def _move(self, stream: str, name: str, start: Start) -> None:
        """Make a consumer anew: the server cannot move one to a time, or to the next event."""
        found = await self._consumers.find(stream, name)
        if found is None:
            raise NotFound(f"the stream {stream!r} has no position {name!r}")
        config = _without_start(found["config"]) | start_config(start)
        for _ in range(_MOVES):
            try:
                await self._consumers.delete(stream, name)
                await self._consumers.create(stream, config)
            except (Conflict, NotFound):
                continue  # Who reads it was faster, and has made it with its own start.
            return
        raise Unsupported(
            f"the position {name!r} cannot be moved while it is read: stop its readers"
        )


def _without_start(config: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in config.items() if key not in _OF_A_START}
    metadata = kept.get("metadata") or {}
    # The server writes its own, and takes them from no one.
    kept["metadata"] = {k: v for k, v in metadata.items() if not k.startswith("_nats.")}
    return kept
