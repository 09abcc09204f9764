"""The one place that counts: plain integers, and readers that are asked on demand.

Everything that counts runs on the event loop, so a counter is an `int` attribute without a lock.
A counter is declared once, with its description; whatever is declared can be read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from micro.telemetry.durations import Durations

__all__ = [
    "ClientCounters",
    "DurableCounters",
    "MetricKind",
    "Metrics",
    "PublisherCounters",
    "Sample",
    "ServerCounters",
    "SubscriberCounters",
]

Source = Callable[[], Mapping[str, float]]
"""Gives values by their full names when it is asked; it returns at once."""

_NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})


class MetricKind(StrEnum):
    """What a value is, and how those of several processes are joined."""

    COUNTER = "counter"
    """Only grows; values are added."""
    GAUGE = "gauge"
    """Goes up and down; values are added."""
    MAXIMUM = "maximum"
    """Goes up and down; the largest value counts."""
    HISTOGRAM = "histogram"
    """Durations, counted by bucket; buckets are added."""


class Sample(NamedTuple):
    """One value at the moment of reading.

    Attributes:
        name: A dotted name, such as `micro.server.handled`.
        value: The value.
        attributes: What tells it from others of the same name, such as the subscriber.
        kind: What the value is.
        description: One sentence for people; empty when its source gives none.
        counts: Of a histogram: how many durations fell into each bucket; see `BOUNDS_SECONDS`.
            The value is the number of all.
        seconds: Of a histogram: the sum of the durations.
    """

    name: str
    value: float
    attributes: Mapping[str, str] = _NO_ATTRIBUTES
    kind: MetricKind = MetricKind.COUNTER
    description: str = ""
    counts: tuple[int, ...] = ()
    seconds: float = 0.0


def _counter(description: str) -> Any:
    return field(default=0, metadata={"description": description})


@dataclass(slots=True)
class ServerCounters:
    """What the servers of one service have counted; each value only grows."""

    handled: int = _counter("Calls whose handler was started.")
    failed: int = _counter("Calls that ended in an error.")
    refused: int = _counter("Requests refused: at a limit, unknown endpoint, or stopping.")
    expired: int = _counter("Requests whose deadline passed before they were answered.")
    malformed: int = _counter("Frames that could not be understood.")
    late: int = _counter("Frames for calls that had ended.")
    duplicates: int = _counter("Requests with the id of a call that was still running.")
    unsent: int = _counter("Replies that could not be sent.")


@dataclass(slots=True)
class ClientCounters:
    """What the clients of one service have counted; each value only grows."""

    calls: int = _counter("Calls made.")
    retries: int = _counter("Further attempts at a call.")
    late_replies: int = _counter("Replies that no call waited for.")
    ejections: int = _counter("Times a node was taken out because it failed or was gone.")


@dataclass(slots=True)
class SubscriberCounters:
    """What one subscriber has counted; each value only grows."""

    handled: int = _counter("Events whose handler was started.")
    failed: int = _counter("Events whose handler failed, or that could not be read.")
    dropped: int = _counter("Events dropped because the queue was full.")
    expired: int = _counter("Events whose handler ran into its timeout.")


@dataclass(slots=True)
class DurableCounters:
    """What one durable subscriber has counted beside that; each value only grows."""

    attempts: int = _counter("Attempts at events, repeated ones included.")
    postponed: int = _counter("Events that their handler asked to get later.")
    duplicates: int = _counter("Events that the inbox knew, so that no handler was called.")
    suspects: int = _counter("Events that came again without a known outcome, and ran alone.")
    dead_letters: int = _counter("Events that became dead letters.")
    expired_unread: int = _counter("Events that age or limit removed before they were handled.")


@dataclass(slots=True)
class PublisherCounters:
    """What the publishers of one service have counted; each value only grows."""

    published: int = _counter("Events handed to the broker.")
    failed: int = _counter("Events that could not be published.")
    stored: int = _counter("Events that the broker has confirmed to have stored.")
    duplicates: int = _counter("Events whose id was stored before, so that nothing was added.")


class Metrics(Mapping[str, float]):
    """All values of one service, by name; a value with attributes is the total of them.

    It lives as long as its Service: a second run goes on counting.

    Attributes:
        server: Counters of the server.
        client: Counters of the client.
        publisher: Counters of published events.
    """

    def __init__(self) -> None:
        self.server: ServerCounters = ServerCounters()
        self.client: ClientCounters = ClientCounters()
        self.publisher: PublisherCounters = PublisherCounters()
        self._subscribers: dict[str, SubscriberCounters] = {}
        self._durables: dict[str, DurableCounters] = {}
        self._calls: dict[str, Durations] = {}
        self._sources: list[tuple[Source, MetricKind]] = []
        self._ended: Counter[str] = Counter()

    def subscriber(self, name: str) -> SubscriberCounters:
        """The counters of the subscriber of that name."""
        return self._subscribers.setdefault(name, SubscriberCounters())

    def calls_of(self, endpoint: str) -> Durations:
        """How long calls of an endpoint took at this server, from their arrival to their end."""
        return self._calls.setdefault(endpoint, Durations())

    def durable(self, name: str) -> DurableCounters:
        """The further counters of the durable subscriber of that name."""
        return self._durables.setdefault(name, DurableCounters())

    @contextmanager
    def observe(self, source: Source, kind: MetricKind = MetricKind.GAUGE) -> Iterator[None]:
        """Read a source inside a block; what it counted by then is kept after it."""
        entry = (source, kind)
        self._sources.append(entry)
        try:
            yield
        finally:
            if kind is MetricKind.COUNTER:
                self._ended.update(source())
            # By identity: equal sources are different ones.
            self._sources = [each for each in self._sources if each is not entry]

    def samples(self) -> Iterator[Sample]:
        """Every value as it is now."""
        yield from _read("micro.server", self.server)
        yield from _read("micro.client", self.client)
        yield from _read("micro.publisher", self.publisher)
        for name, counters in self._subscribers.items():
            yield from _read("micro.subscriber", counters, {"subscriber": name})
        for name, durations in self._calls.items():
            yield from _durations("rpc.server.call.duration", durations, {"rpc.method": name})
        for name, tally in self._durables.items():
            yield from _read("micro.durable", tally, {"subscriber": name})
        yield from (Sample(name, total) for name, total in self._ended.items())
        for source, kind in self._sources:
            for name, value in source().items():
                yield Sample(name, value, kind=kind)

    def __getitem__(self, name: str) -> float:
        return self._totals()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._totals())

    def __len__(self) -> int:
        return len(self._totals())

    def __repr__(self) -> str:
        return f"Metrics({self._totals()!r})"

    def _totals(self) -> dict[str, float]:
        totals: dict[str, float] = {}
        for sample in self.samples():
            known = totals.get(sample.name, 0)
            joins = max if sample.kind is MetricKind.MAXIMUM else _add
            totals[sample.name] = joins(known, sample.value)
        return totals


def _add(one: float, other: float) -> float:
    return one + other


def _durations(name: str, durations: Durations, attributes: Mapping[str, str]) -> Iterator[Sample]:
    for error, histogram in durations:
        yield Sample(
            name=name,
            value=sum(histogram.counts),
            attributes={**attributes, "error.type": error} if error else attributes,
            kind=MetricKind.HISTOGRAM,
            description=_DURATIONS[name],
            counts=tuple(histogram.counts),
            seconds=histogram.seconds,
        )


_DURATIONS = {
    "rpc.server.call.duration": "Seconds from a request's arrival to the end of its call.",
}


def _read(
    prefix: str, counters: Any, attributes: Mapping[str, str] = _NO_ATTRIBUTES
) -> Iterator[Sample]:
    for each in fields(counters):
        yield Sample(
            name=f"{prefix}.{each.name}",
            value=getattr(counters, each.name),
            attributes=attributes,
            description=each.metadata["description"],
        )
