"""The names on the server: subjects, streams and consumers of kept topics.

They are stored, so a release must find what an older one created.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from micro.errors import InvalidName
from micro.names import check_topic

__all__ = [
    "Names",
    "check_durable",
    "consumer_name",
    "durable_of",
    "returns_consumer_name",
    "topic_filters",
]

_DURABLE = re.compile(r"[A-Za-z0-9_-]{1,128}")
_UNFIT_FOR_STREAMS = re.compile(r"[./\\*>]")
# A durable's name never has it, so no durable can have the name of another one's partition.
_PARTITION_MARK = "=p"


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names of one namespace.

    Attributes:
        namespace: A prefix of every subject; empty for none.
    """

    namespace: str = ""

    def subject(self, topic: str, partition: int | None = None) -> str:
        """Where events of a topic are published.

        Raises:
            InvalidName: the topic cannot be used.
        """
        return self._in_namespace(_partitioned(check_topic(topic), partition))

    def stream(self, topic: str) -> str:
        """The stream of a topic that no platform team has placed elsewhere."""
        return _UNFIT_FOR_STREAMS.sub("_", "_".join(self._parts("micro", topic)))

    @property
    def returns(self) -> str:
        """The stream of events that are stored for one durable only."""
        # With `-`, so that it is not the stream of a topic named `returns`.
        return self._shared("returns")

    @property
    def returns_subjects(self) -> tuple[str, str]:
        """The subjects of the stream `returns`: events, and those that wait for their time."""
        return self._in_namespace("micro.to.>"), self._in_namespace("micro.wait.>")

    @property
    def later(self) -> str:
        """The stream of events that wait for their time, on topics of all kinds."""
        return self._shared("later")

    @property
    def later_subjects(self) -> tuple[str, str]:
        """The subjects of the stream `later`: events whose time has come, and those that wait."""
        return self._in_namespace("micro.due.>"), self._in_namespace("micro.at.>")

    def returned(self, durable: str, topic: str, partition: int | None = None) -> str:
        """Where events are published that only one durable gets."""
        return self._in_namespace(f"micro.to.{durable}.{_partitioned(topic, partition)}")

    def waiting(self, token: str, topic: str, *, returned: bool = False) -> str:
        """Where an event waits for its time; one event for each token."""
        place = "wait" if returned else "at"
        return self._in_namespace(f"micro.{place}.{token}.{topic}")

    def due(self, topic: str, partition: int | str | None = None) -> str:
        """Where an event of the stream `later` comes when its time has come."""
        return self._in_namespace(f"micro.due.{_token(partition)}.{topic}")

    def late(self, topic: str, partition: int | str | None = None) -> str:
        """The subject of such an event in the stream of its topic.

        It is one of its own: the server looks for the newest such event each time it starts.
        """
        return self._in_namespace(f"micro.late.{_token(partition)}.{topic}")

    def partition_of(self, topic: str, subject: str) -> int | None:
        """The partition that an event was published to; `None` for none."""
        before, _, after = subject.rpartition(topic)
        token = after.removeprefix(".")
        if not token:
            place, _, number = before.removesuffix(".").rpartition(".")
            token = number if place.endswith("micro.late") else ""
        return int(token[1:]) if token[:1] == "p" and token[1:].isdecimal() else None

    def _in_namespace(self, subject: str) -> str:
        return f"{self.namespace}.{subject}" if self.namespace else subject

    def _shared(self, name: str) -> str:
        return _UNFIT_FOR_STREAMS.sub("-", "-".join(self._parts("micro", name)))

    def _parts(self, first: str, last: str) -> tuple[str, ...]:
        return (first, self.namespace, last) if self.namespace else (first, last)


def check_durable(name: str) -> str:
    """Return the name of a durable if it can be used.

    Raises:
        InvalidName: it has characters besides letters, digits, `-` and `_`, or more than 128.
    """
    if not _DURABLE.fullmatch(name):
        raise InvalidName(f"durable {name!r}: use 1 to 128 letters, digits, '-' and '_'")
    return name


def consumer_name(durable: str, partition: int | None = None) -> str:
    """The consumer of a durable, or of one of its partitions."""
    return durable if partition is None else f"{durable}{_PARTITION_MARK}{partition}"


def returns_consumer_name(durable: str, stream: str, partition: int | None = None) -> str:
    """The consumer of a durable on the stream `returns`, which durables of all topics share."""
    return consumer_name(f"{durable}={stream}", partition)


def durable_of(consumer: str) -> str:
    """The durable that a consumer belongs to."""
    return consumer.partition(_PARTITION_MARK)[0]


def topic_filters(
    names: Names, topic: str, partitions: int | tuple[int, ...], *, late: bool
) -> list[str]:
    """Every subject of a topic's events in its stream.

    Args:
        names: The names of the namespace.
        topic: The topic.
        partitions: How many there are, or only these.
        late: Whether there may be events that waited for their time.
    """
    if isinstance(partitions, tuple):
        numbers: list[int | None] = list(partitions)
        tokens: list[int | str | None] = list(partitions)
    else:
        numbers, tokens = [None, *range(partitions)], ["*"]
    subjects = [names.subject(topic, number) for number in numbers]
    return subjects + [names.late(topic, token) for token in tokens if late]


def _partitioned(topic: str, partition: int | None) -> str:
    return topic if partition is None else f"{topic}.p{partition}"


def _token(partition: int | str | None) -> str:
    if isinstance(partition, int):
        return f"p{partition}"
    return partition or "all"
