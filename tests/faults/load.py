"""A steady load of calls and events, and a record of how each of them ended."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from micro import Client, MicroError
from micro.names import camel_case
from micro.scope import Scope, open_scope
from micro.service import open_client
from micro.settings.load import Settings
from tests.faults.clock import lasts, until

__all__ = ["Call", "Load", "client_of", "run_load", "within"]


@dataclass(slots=True)
class Call:
    """One call: when, to what, and how it ended; an error's class, or none."""

    number: int
    kind: str
    started: float
    ended: float = 0.0
    node: str = ""
    error: str = ""
    code: int = 0
    refused: bool = False
    detail: str = ""

    @property
    def seconds(self) -> float:
        return self.ended - self.started


class Load:
    """Calls and events at a steady rate, whether or not earlier ones have ended.

    Args:
        client: Makes them.
        rate: How many a second, of all kinds together.
        kinds: Taken in turn: names of endpoints, or `event`.
        timeout: Seconds for each call.
        retries: Further tries of each call, `None` for the client's own.
        seconds: How long a handler is to work, give or take a fifth.
    """

    def __init__(
        self,
        client: Client,
        *,
        rate: float = 200.0,
        kinds: Sequence[str] = ("read", "award", "event"),
        timeout: float = 5.0,
        retries: int | None = None,
        seconds: float = 0.0,
    ) -> None:
        self.client = client
        self.rate = rate
        self.kinds = tuple(kinds)
        self.timeout = timeout
        self.retries = retries
        self.seconds = seconds
        self.calls: list[Call] = []
        self.published: list[int] = []
        self.confirmed: dict[int, tuple[float, float]] = {}
        self.unpublished: list[int] = []
        self._numbers = 0
        self._running = True
        self._under_way = 0
        self._scope: Scope

    @property
    def failed(self) -> list[Call]:
        """Calls that ended in an error."""
        return [call for call in self.calls if call.error]

    def of(self, kind: str) -> list[Call]:
        return [call for call in self.calls if call.kind == kind]

    @property
    def errors(self) -> Counter[str]:
        """How often each kind of call ended in each error."""
        return Counter(f"{call.kind}: {call.error} {call.detail}" for call in self.failed)

    async def run(self, scope: Scope) -> None:
        """Make the load until `stop`; never more than a tenth of a second of it at once."""
        self._scope = scope
        due = time.monotonic()
        while self._running:
            now = time.monotonic()
            due = max(due, now - 0.1)
            while due <= now:
                due += 1 / self.rate
                self._numbers += 1
                scope.start(self._one(self._numbers))
            await lasts(max(0.0, due - time.monotonic()))

    async def stop(self) -> None:
        """End the load, and wait for all calls that are under way."""
        self._running = False
        await until(lambda: not self._under_way, self.timeout + 5)

    async def _one(self, number: int) -> None:
        self._under_way += 1
        kind = self.kinds[number % len(self.kinds)]
        job = {"number": number, "seconds": self.seconds * random.uniform(0.8, 1.2)}
        try:
            if kind == "event":
                await self._publish(number, job)
            else:
                await self._call(number, kind, job)
        finally:
            self._under_way -= 1

    async def _publish(self, number: int, job: dict[str, float]) -> None:
        try:
            started = time.monotonic()
            await self.client.publish("points.happened", job)
            self.published.append(number)
            await self.client.flush()
            self.confirmed[number] = (started, time.monotonic())
        except MicroError:
            self.unpublished.append(number)

    async def _call(self, number: int, kind: str, job: dict[str, float]) -> None:
        call = Call(number, kind, time.monotonic())
        try:
            answer = await self.client.call(
                "points",
                f"Points.{camel_case(kind)}",
                job,
                timeout=self.timeout,
                retries=self.retries,
            )
            call.node = answer["node"] if isinstance(answer, dict) and "node" in answer else ""
        except MicroError as error:
            call.error, call.code = type(error).__name__, error.code
            call.refused, call.detail = error.refused, error.detail
        call.ended = time.monotonic()
        self.calls.append(call)


def within(calls: Sequence[Call], share: float = 0.99) -> float:
    """The seconds within which such a share of the calls ended."""
    times = sorted(call.seconds for call in calls)
    return times[max(0, int(len(times) * share) - 1)] if times else 0.0


@asynccontextmanager
async def run_load(client: Client, **options: object) -> AsyncIterator[Load]:
    """Make a load inside the block; it has ended, every call of it, when the block has."""
    load = Load(client, **options)  # type: ignore[arg-type]  # Load says which there are
    async with open_scope() as scope:
        making = scope.start(load.run(scope))
        try:
            yield load
        finally:
            await load.stop()
            await making


@asynccontextmanager
async def client_of(*addresses: str, **settings: object) -> AsyncIterator[Client]:
    """A client on these servers."""
    async with open_client(Settings(transport_address=addresses, **settings)) as client:
        yield client
