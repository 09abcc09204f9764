"""Kept topics on the server: created once, compared, described, changed on demand only."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from micro.broker.kept_types import TopicSpec, TopicState
from micro.concurrency.once import Once
from micro.errors import Conflict, Forbidden, MicroError, NotFound, Unsupported
from micro_nats.jetstream.api import Answer, JetStreamApi
from micro_nats.jetstream.errors import SUBJECTS_OVERLAP, TOO_FEW_SERVERS, number_of
from micro_nats.jetstream.names import Names
from micro_nats.jetstream.positions import read_positions
from micro_nats.jetstream.streams import (
    differences,
    has_late,
    later_config,
    read_spec,
    returns_config,
    stream_config,
    takes,
)

__all__ = ["SCHEDULES_VERSION", "Home", "Topics"]

log = logging.getLogger("micro.nats")

_AUTO_REPLICAS = 3
SCHEDULES_VERSION = (2, 12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where a topic's events are.

    Attributes:
        topic: The topic.
        stream: Its stream.
        partitions: How many it has; 0 for none.
        dedup: Seconds in which the stream stores an id once.
        late: Whether the stream takes events that waited for their time.
    """

    topic: str
    stream: str
    partitions: int = 0
    dedup: float = 120.0
    late: bool = False


class Topics:
    """The kept topics of one namespace.

    Args:
        api: JetStream's API.
        names: The namespace's names.

    Attributes:
        names: See above.
        fewest_replicas: Of the topics that were used; 0 before the first.
    """

    def __init__(self, api: JetStreamApi, names: Names) -> None:
        self._api = api
        self.names = names
        self._homes: dict[str, Home] = {}
        self._specs: dict[str, TopicSpec] = {}
        self._returns = Once(self._create_returns)
        self._later = Once(self._create_later)
        self.fewest_replicas = 0

    async def home(self, topic: str) -> Home:
        """Where a topic's events are, as the server tells on the first use.

        Raises:
            NotFound: the topic is not kept.
            InvalidName: the topic cannot be used.
            Unavailable, ConnectionLost, DeadlineExceeded: it cannot be found out now.
        """
        known = self._homes.get(topic)
        if known is not None:
            return known
        self.names.subject(topic)
        stream = self.names.stream(topic)
        try:
            info = await self._api.request(f"STREAM.INFO.{stream}", doing=f"topic {topic!r}")
        except Forbidden:
            # This user may store and read, but not look: the rule for names must do.
            return self._homes.setdefault(topic, Home(topic=topic, stream=stream))
        except NotFound:
            raise NotFound(
                f"the topic {topic!r} is not kept: there is no stream {stream!r}"
            ) from None
        self._check_subjects(TopicSpec(name=topic), stream, info)
        self._learn(TopicSpec(name=topic), info)
        return self._homes[topic]

    async def make_returns(self) -> None:
        """Create the stream for events of one durable each, unless it is there.

        Raises:
            Forbidden, Unsupported, Unavailable, ConnectionLost, DeadlineExceeded: see
                `JetStreamApi.request`.
        """
        await self._returns()

    async def ensure(self, spec: TopicSpec, *, create: bool) -> TopicState:
        """Create a topic if it is absent; see `KeptBroker.ensure`."""
        stream = spec.place or self.names.stream(spec.name)
        self.names.subject(spec.name)
        info, created = await self._find(stream), False
        if info is None:
            if spec.place or not create:
                raise NotFound(
                    f"the topic {spec.name!r} is not kept: there is no stream {stream!r}"
                )
            if self._schedules:
                await self._later()
            info, created = await self._create(spec), True
        self._check_subjects(spec, stream, info)
        if create and not spec.place:
            await self._returns()
        self._learn(spec, info)
        wanted = self._config(spec, replicas=info["config"].get("num_replicas", 1))
        differs = [] if created else differences(info["config"], wanted, spec)
        return replace(_state(spec, info), created=created, differences=tuple(differs))

    async def describe(self, topic: str) -> TopicState:
        """A topic and its positions; see `KeptBroker.describe`."""
        home = await self.home(topic)
        spec = self._specs.get(topic) or TopicSpec(name=topic)
        doing = f"looking at the topic {topic!r}"
        info = await self._api.request(f"STREAM.INFO.{home.stream}", doing=doing)
        return replace(_state(spec, info), positions=await read_positions(self._api, home.stream))

    async def change(self, spec: TopicSpec) -> TopicState:
        """Keep a topic in another way; see `KeptBroker.change`."""
        home = await self.home(spec.name)
        if spec.place:
            raise Unsupported(f"the stream {spec.place!r} is not ours to change")
        doing = f"changing the topic {spec.name!r}"
        info = await self._api.request(f"STREAM.INFO.{home.stream}", doing=doing)
        have = read_spec(info["config"], spec)
        for field in ("partitions", "work"):
            if getattr(have, field) != getattr(spec, field):
                raise Unsupported(f"{field} of the topic {spec.name!r} cannot be changed")
        replicas = spec.replicas or have.replicas
        # Sources stay as they are: they are the server's side of delayed events.
        wanted = self._config(spec, replicas=replicas) | {"sources": info["config"].get("sources")}
        config = {key: value for key, value in wanted.items() if value is not None}
        info = await self._api.request(f"STREAM.UPDATE.{home.stream}", config, doing=doing)
        self._learn(spec, info)
        return _state(spec, info)

    async def remove(self, topic: str, sequence: int) -> None:
        """Remove one event; see `KeptBroker.remove`."""
        home = await self.home(topic)
        # `no_erase` false overwrites the bytes on the disk.
        await self._api.request(
            f"STREAM.MSG.DELETE.{home.stream}",
            {"seq": sequence, "no_erase": False},
            doing=f"removing event {sequence} of {topic!r}",
        )

    @property
    def _schedules(self) -> bool:
        return self._api.version >= SCHEDULES_VERSION

    async def _find(self, stream: str) -> Answer | None:
        doing = f"looking at the stream {stream!r}"
        try:
            return await self._api.request(f"STREAM.INFO.{stream}", doing=doing)
        except NotFound:
            return None

    async def _create(self, spec: TopicSpec) -> Answer:
        replicas = spec.replicas or (_AUTO_REPLICAS if self._api.clustered else 1)
        try:
            return await self._create_stream(self._config(spec, replicas=replicas))
        except Conflict as error:
            # Another instance was faster, with another configuration.
            info = await self._find(self.names.stream(spec.name))
            if info is not None:
                return info
            if number_of(error) == SUBJECTS_OVERLAP:
                raise await self._overlap(spec) from error
            raise
        except MicroError as error:
            if spec.replicas or replicas == 1 or number_of(error) not in TOO_FEW_SERVERS:
                raise
        log.warning(
            "the cluster has no %d servers for the topic %r: it is kept on one, and its loss"
            " loses the events",
            replicas,
            spec.name,
        )
        return await self._create_stream(self._config(spec, replicas=1))

    async def _create_stream(self, config: dict[str, Any]) -> Answer:
        name = config["name"]
        doing = f"creating the stream {name!r}"
        return await self._api.request(f"STREAM.CREATE.{name}", config, doing=doing)

    async def _create_returns(self) -> None:
        """Create the stream for events of one durable each, unless it is there."""
        await self._create_shared(
            lambda copies: returns_config(self.names, replicas=copies, schedules=self._schedules)
        )

    async def _create_later(self) -> None:
        """Create the stream for events that wait, unless it is there."""
        await self._create_shared(lambda copies: later_config(self.names, replicas=copies))

    async def _create_shared(self, config: Callable[[int], dict[str, Any]]) -> None:
        if await self._find(config(1)["name"]) is not None:
            return
        copies = _AUTO_REPLICAS if self._api.clustered else 1
        try:
            await self._create_stream(config(copies))
        except Conflict:
            return  # another instance, perhaps of another release, was faster
        except MicroError as error:
            if copies == 1 or number_of(error) not in TOO_FEW_SERVERS:
                raise
            await self._create_stream(config(1))

    async def _overlap(self, spec: TopicSpec) -> MicroError:
        """The error for a topic that another stream already takes."""
        subject = self.names.subject(spec.name)
        answer = await self._api.request(
            "STREAM.NAMES", {"subject": subject}, doing=f"looking for the stream of {subject!r}"
        )
        found = ", ".join(map(repr, answer.get("streams") or ())) or "another one"
        return Unsupported(
            f"the topic {spec.name!r} is already stored by the stream {found}: name it with"
            f" Keep(stream=...), or choose another topic"
        )

    def _check_subjects(self, spec: TopicSpec, stream: str, info: Answer) -> None:
        subjects = info["config"].get("subjects") or ()
        if not takes(subjects, self.names.subject(spec.name)):
            shown = ", ".join(subjects)
            raise Unsupported(
                f"the stream {stream!r} does not take the topic {spec.name!r} (it takes: {shown})"
            )

    def _config(self, spec: TopicSpec, *, replicas: int) -> dict[str, Any]:
        return stream_config(spec, self.names, replicas=replicas, schedules=self._schedules)

    def _learn(self, spec: TopicSpec, info: Answer) -> None:
        found = read_spec(info["config"], spec)
        self._specs[spec.name] = found
        self._homes[spec.name] = Home(
            topic=spec.name,
            stream=info["config"]["name"],
            partitions=found.partitions,
            dedup=found.dedup,
            late=has_late(info["config"], self.names),
        )
        self.fewest_replicas = min(self.fewest_replicas or found.replicas, found.replicas)


def _state(spec: TopicSpec, info: Answer) -> TopicState:
    state = info.get("state") or {}
    messages = state.get("messages", 0)
    return TopicState(
        spec=read_spec(info["config"], spec),
        messages=messages,
        bytes=state.get("bytes", 0),
        first_sequence=state.get("first_seq", 0) if messages else 0,
        last_sequence=state.get("last_seq", 0),
    )
