"""Services that the tests of the network run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from pydantic import BaseModel

from micro import Service, Topic, contract


class Award(BaseModel):
    user: str
    points: int


awards = Topic("points.awarded", Award)


@contract("Points")
class PointsApi(Protocol):
    async def award(self, award: Award) -> int: ...

    async def total(self) -> int: ...

    def history(self, user: str) -> AsyncIterator[int]: ...


class Points:
    """A service of points that a test can hold at a gate."""

    def __init__(self) -> None:
        self.service = Service("points")
        self.handled: list[Award] = []
        self.running = asyncio.Event()
        self.gate = asyncio.Event()
        self.cancelled = 0
        self.service.handler("Points.Award")(self.award)
        self.service.handler("Points.Hold")(self.hold)
        self.service.subscriber(awards)(self.on_award)

    async def award(self, award: Award) -> int:
        await self.service.publish(awards, award)
        return award.points

    async def hold(self) -> str:
        self.running.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return "done"

    async def on_award(self, award: Award) -> None:
        self.handled.append(award)
