"""Events that no stream takes now: one is tried until it is taken, the others follow in order.

While a stream has no leader its subject has no listeners, and the server says so (ADR-22).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from itertools import count

from micro.broker.kept_types import Receipt
from micro.errors import MicroError, NotFound
from micro.scope import Scope
from micro_nats.jetstream.api import JetStreamApi
from micro_nats.jetstream.publication import Publication

__all__ = ["Holds", "Send"]

log = logging.getLogger("micro.nats")

_RETRY_SECONDS = 0.25
_PROBE_SECONDS = 2.0
# A stream that does not exist is the usual reason when the third try fails.
_LOOK_AT = 2
_LOOK_SECONDS = 1.0

Send = Callable[[Publication], None]
"""Sends an event; fails it when it cannot be sent at all, and never raises."""


class Holds:
    """Holds events back, by subject, while no one takes them.

    Args:
        api: Tells whether a stream exists.
        scope: Where the tasks run that try again.
        send: Sends an event.
    """

    def __init__(self, api: JetStreamApi, scope: Scope, send: Send) -> None:
        self._api = api
        self._scope = scope
        self._send = send
        self._held: dict[str, _Hold] = {}

    def __len__(self) -> int:
        return len(self._held)

    def wait_behind(self, publication: Publication) -> bool:
        """Hold an event behind earlier ones of its subject; whether there are any."""
        hold = self._held.get(publication.event.subject)
        if hold is None:
            return False
        hold.waiting[publication.number] = publication
        return True

    def refused(self, publication: Publication) -> None:
        """Hold an event that no one took."""
        publication.refusals += 1
        subject = publication.event.subject
        hold = self._held.get(subject)
        if hold is None:
            hold = self._held[subject] = _Hold()
            self._scope.start(self._retry(subject, hold), name="micro-nats-retry")
        hold.waiting[publication.number] = publication
        hold.answered.set()

    async def _retry(self, subject: str, hold: _Hold) -> None:
        """Try until an event is taken, or none waits any more."""
        for tries in count(1):
            await asyncio.sleep(_RETRY_SECONDS * random.uniform(0.8, 1.2))
            first = hold.first()
            if first is None:
                break
            if tries == _LOOK_AT and await self._is_absent(first.event.stream):
                hold.fail(f"no stream {first.event.stream!r} keeps {subject!r}")
                break
            if await self._is_taken(hold, first):
                break
        del self._held[subject]
        for publication in hold.in_order():
            self._send(publication)

    async def _is_taken(self, hold: _Hold, first: Publication) -> bool:
        hold.answered.clear()
        first.answer.add_done_callback(hold.on_answer)
        self._send(first)
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                await hold.answered.wait()
        except TimeoutError:
            log.debug("no answer for an event on %r", first.event.subject)
        finally:
            first.answer.remove_done_callback(hold.on_answer)
        return first.answer.done()

    async def _is_absent(self, stream: str) -> bool:
        try:
            # In a cluster without a leader this has no answer either: the tries must go on.
            async with asyncio.timeout(_LOOK_SECONDS):
                return not await self._api.exists(stream)
        except (MicroError, TimeoutError) as error:
            # This user may not ask, or no one answers this either: go on trying.
            log.debug("cannot look at the stream %r: %s", stream, error)
            return False


class _Hold:
    """The events of one subject that wait."""

    def __init__(self) -> None:
        self.waiting: dict[int, Publication] = {}
        self.answered = asyncio.Event()

    def on_answer(self, answer: asyncio.Future[Receipt]) -> None:
        del answer
        self.answered.set()

    def in_order(self) -> list[Publication]:
        open_ones = [each for each in self.waiting.values() if not each.answer.done()]
        return sorted(open_ones, key=lambda each: each.number)

    def first(self) -> Publication | None:
        waiting = self.in_order()
        self.waiting = {each.number: each for each in waiting}
        return waiting[0] if waiting else None

    def fail(self, text: str) -> None:
        for publication in self.waiting.values():
            publication.fail(NotFound(text))
