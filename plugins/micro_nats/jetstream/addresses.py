"""Where an event is stored: on its topic, for one durable only, now or later."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from micro.errors import Unsupported
from micro.message import Message
from micro_nats.jetstream.api import JetStreamApi
from micro_nats.jetstream.messages import schedule, stored_headers
from micro_nats.jetstream.names import Names, check_durable
from micro_nats.jetstream.publication import Outgoing
from micro_nats.jetstream.streams import SHARED_DEDUP_SECONDS
from micro_nats.jetstream.topics import SCHEDULES_VERSION, Topics

__all__ = ["Address", "Addresses"]

_TOKEN_BYTES = 12
_MAX_KNOWN = 4096
_VERSION = ".".join(map(str, SCHEDULES_VERSION))


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where an event is stored.

    Attributes:
        topic: Its topic.
        subject: Where it is published.
        stream: The stream that stores it.
        dedup: Seconds in which the stream stores an id once.
        to: The durable that alone gets it; empty for all.
        partition: Its partition.
        late: Whether its stream takes events that waited for their time.
        at: When it is stored on `target`; `None` for now.
        target: Where it is stored then.
    """

    topic: str
    subject: str
    stream: str
    dedup: float
    to: str = ""
    partition: int | None = None
    late: bool = False
    at: datetime | None = None
    target: str = ""

    def unique(self, id: str) -> str:
        """What the stream stores once: some streams are shared by topics and durables."""
        if self.to or self.at is not None:
            return f"{self.to}/{self.topic}/{id}"
        return id

    def outgoing(self, message: Message, id: str) -> Outgoing:
        """The event as it is published."""
        headers = stored_headers(message, id, unique=self.unique(id), stream=self.stream)
        if self.at is not None:
            headers = schedule(headers, self.at, self.target, id)
        return Outgoing(
            subject=self.subject,
            stream=self.stream,
            id=id,
            headers=headers,
            body=message.body,
            dedup=self.dedup,
        )


class Addresses:
    """Finds addresses.

    Args:
        api: Knows the server's version.
        topics: Knows where topics are.
        names: The names of the namespace.
    """

    def __init__(self, api: JetStreamApi, topics: Topics, names: Names) -> None:
        self._api = api
        self._topics = topics
        self._names = names
        self._known: dict[tuple[str, int | None], Address] = {}

    async def find(self, topic: str, *, partition: int | None, to: str) -> Address:
        """The address of an event that is stored now.

        Raises:
            NotFound: the topic is not kept.
            InvalidName: the topic or the durable cannot be used.
        """
        key = (topic, partition)
        if not to and key in self._known:
            return self._known[key]
        home = await self._topics.home(topic)
        if not to:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            # A publication costs less than finding its address; topics stay where they are.
            known = self._known[key] = Address(
                topic=topic,
                subject=self._names.subject(topic, partition),
                stream=home.stream,
                dedup=home.dedup,
                partition=partition,
                late=home.late,
            )
            return known
        await self._topics.make_returns()
        return Address(
            topic=topic,
            subject=self._names.returned(check_durable(to), topic, partition),
            stream=self._names.returns,
            dedup=SHARED_DEDUP_SECONDS,
            to=to,
            partition=partition,
        )

    def later(self, address: Address, at: datetime, id: str) -> Address:
        """The address of an event that is stored at `at`; unchanged where that has passed.

        Raises:
            Unsupported: the server is too old, or the topic is in a stream of a platform team.
        """
        if at <= datetime.now(UTC):
            return address
        self._api.require(SCHEDULES_VERSION, "an event for later")
        if not address.to and not address.late:
            raise Unsupported(
                f"the topic {address.topic!r} takes no event for later: its stream was created"
                f" before nats-server {_VERSION}, or by someone else"
            )
        returned = bool(address.to)
        due = self._names.due(address.topic, address.partition)
        # One event waits on each subject, so a repeat with the same id replaces it.
        unique = f"{address.to}/{address.topic}/{id}".encode()
        token = hashlib.blake2b(unique, digest_size=_TOKEN_BYTES).hexdigest()
        return replace(
            address,
            subject=self._names.waiting(token, address.topic, returned=returned),
            stream=address.stream if returned else self._names.later,
            dedup=SHARED_DEDUP_SECONDS,
            at=at,
            target=address.subject if returned else due,
        )
