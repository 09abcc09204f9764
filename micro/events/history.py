"""What is known of earlier attempts at an event, in this process and in others.

The broker's count of deliveries says that an event came before, but not how that ended. So every
outcome after which an event comes again is noted: in this process, and as a record in the kept
topic `micro.outcomes` for the other instances. An event that came before and has no outcome on
record is a suspect: its handler may have killed a process.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from micro.broker.kept_types import TopicSpec
from micro.events.arrival import Arrival
from micro.events.kept_topics import KeptTopics
from micro.message import Message

__all__ = ["OUTCOMES", "History", "Past"]

OUTCOMES = TopicSpec(
    name="micro.outcomes",
    age=7 * 86_400.0,
    bytes=16 << 20,
    messages=20_000,
    full="discard_old",
    dedup=0.0,
)
"""The topic of outcomes. A record has no body and about 200 bytes of headers."""

MAX_ENDED = 1000
"""Suspects whose end this process remembers; normally the topic of outcomes has it."""

_KEY = "Micro-Outcome-Key"
_FAILED = "Micro-Outcome-Failed"
_DEATHS = "Micro-Outcome-Deaths"
_DELIVERIES = "Micro-Outcome-Deliveries"
_MARKED = "Micro-Outcome-Marked"


class Past(NamedTuple):
    """What is known of earlier attempts at an event.

    Attributes:
        failed: Attempts that failed.
        deaths: Attempts that ended with the death of their process.
        deliveries: The last delivery whose outcome is known.
        marked: A suspect was started in it, and no outcome is on record.
        suspect: It was delivered before, and a delivery has no outcome.
    """

    failed: int = 0
    deaths: int = 0
    deliveries: int = 0
    marked: bool = False
    suspect: bool = False

    @property
    def charged(self) -> int:
        """Attempts that count."""
        return self.failed + self.deaths


class History:
    """Outcomes of attempts, by event and durable.

    Args:
        topics: Makes the topic of outcomes when it is first needed.
    """

    def __init__(self, topics: KeptTopics) -> None:
        self._topics = topics
        self._known: OrderedDict[str, Past] = OrderedDict()
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._seen = 0
        self._reading = asyncio.Lock()

    async def recall(self, arrival: Arrival, *, fresh: bool = False) -> Past:
        """What is known of an event that has just been delivered.

        Args:
            arrival: The delivery.
            fresh: Ask the broker in any case: another instance may have noted something.

        Raises:
            MicroError: the topic of outcomes cannot be read.
        """
        before = (arrival.delivery.deliveries or 1) - 1
        if before <= 0:
            return Past(failed=arrival.failed)
        known = self._known.get(arrival.key)
        if fresh or known is None or known.deliveries < before:
            await self._refresh()
            known = self._known.get(arrival.key)
        if known is None:
            return Past(failed=arrival.failed, suspect=True)
        if known.marked and self._ended.get(arrival.key, 0) >= known.deliveries:
            # It ended in this process, which could not note that.
            return known._replace(suspect=True)
        if known.marked:
            # Started alone and under a mark, and never ended: this attempt killed its process.
            return known._replace(deaths=known.deaths + 1, suspect=True)
        return known._replace(suspect=known.deliveries < before)

    async def note(self, arrival: Arrival, past: Past, *, marked: bool = False) -> None:
        """Note how the present delivery ended, or with `marked` that it is about to be started.

        Raises:
            MicroError: it could not be stored.
        """
        now = past._replace(
            deliveries=arrival.delivery.deliveries or 1, marked=marked, suspect=False
        )
        await self._topics.ensure_spec(OUTCOMES)
        await self._topics.broker.store(
            OUTCOMES.name, Message(_headers(arrival.key, now), b""), id=uuid.uuid4().hex
        )
        self._remember(arrival.key, now)

    def end(self, arrival: Arrival) -> None:
        """Remember that the present delivery ended in this process, noted or not."""
        self._ended[arrival.key] = arrival.delivery.deliveries or 1
        if len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)

    def forget(self, arrival: Arrival) -> None:
        """Forget an event that is settled."""
        self._known.pop(arrival.key, None)

    async def _refresh(self) -> None:
        """Read what all instances have noted since the last time."""
        broker = self._topics.broker
        async with self._reading:
            await self._topics.ensure_spec(OUTCOMES)
            last = (await broker.describe(OUTCOMES.name)).last_sequence
            if last <= self._seen:
                return
            async with broker.read(OUTCOMES.name, start=self._seen + 1, end=last) as records:
                async for record in records:
                    self._read(record.message.headers)
            self._seen = last

    def _read(self, headers: Mapping[str, str]) -> None:
        try:
            past = Past(
                failed=int(headers[_FAILED]),
                deaths=int(headers[_DEATHS]),
                deliveries=int(headers[_DELIVERIES]),
                marked=headers[_MARKED] == "1",
            )
        except (KeyError, ValueError):
            return  # Not a record: other programs may publish on this topic.
        self._remember(headers.get(_KEY, ""), past)

    def _remember(self, key: str, past: Past) -> None:
        self._known[key] = past
        self._known.move_to_end(key)
        if len(self._known) > OUTCOMES.messages:
            self._known.popitem(last=False)


def _headers(key: str, past: Past) -> dict[str, str]:
    return {
        _KEY: key,
        _FAILED: str(past.failed),
        _DEATHS: str(past.deaths),
        _DELIVERIES: str(past.deliveries),
        _MARKED: "1" if past.marked else "0",
    }
