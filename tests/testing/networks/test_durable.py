"""Durable subscribers in a test network: retries on its clock, dead letters, kills."""

from __future__ import annotations

import asyncio

from micro import Context, Later, Retry, Service, Topic
from micro.testing import network
from tests.testing.networks.services import Award

ANN = Award(user="ann", points=3)
kept = Topic("points.kept", Award, keep="7d")


def durable(handle, **options) -> Service:
    service = Service("points")
    service.subscriber(kept, durable=True, **options)(handle)
    return service


async def test_attempts_follow_the_virtual_clock_until_the_event_is_a_dead_letter() -> None:
    attempts = []

    async def fail(award: Award, ctx: Context) -> None:
        attempts.append((round(net.now - began), ctx.attempt))
        raise OSError("no disk")

    async with network(clock="virtual") as net:
        began = net.now
        await net.start(durable(fail, retry=Retry(1, 60, 3600, jitter=0)))
        receipt = await net.publish(kept, ANN, id="one")
        await net.settled()
        early = await net.dead(kept)
        await net.advance("2h")
        (letter,) = await net.dead(kept)

    assert attempts == [(0, 1), (1, 2), (61, 3), (3661, 4)]
    assert (receipt.stored, early) == (True, [])
    assert (letter.id, letter.reason, letter.attempts) == ("one", "exhausted", 4)


async def test_a_fault_at_the_service_counts_as_an_attempt() -> None:
    handled = []

    async def handle(award: Award, ctx: Context) -> None:
        handled.append(ctx.attempt)

    async with network(clock="virtual") as net:
        await net.start(durable(handle, retry=Retry(5, 5, jitter=0)), replicas=2)
        net.fault(kept, at="points", error=OSError("no disk"), times=2)
        await net.publish(kept, ANN)
        await net.advance("10s")

        assert handled == [3]
        assert await net.dead() == []


async def test_settling_does_not_wait_for_what_comes_later() -> None:
    seen = []

    async def later(award: Award) -> None:
        seen.append(award)
        if len(seen) < 3:
            raise Later("1h")

    async with network(clock="virtual") as net:
        await net.start(durable(later))
        await net.publish(kept, ANN)
        await net.settled(timeout=2)
        assert len(seen) == 1
        await net.advance("3h")

    assert len(seen) == 3


async def test_an_event_that_a_killed_replica_handled_comes_to_another() -> None:
    begun, seen, gate = asyncio.Event(), [], asyncio.Event()

    async def hold(award: Award, ctx: Context) -> None:
        seen.append(ctx.attempt)
        begun.set()
        await gate.wait()

    async with network(clock="virtual") as net:
        service = durable(hold)
        (one,) = await net.start(service)
        await net.publish(kept, ANN)
        await begun.wait()
        await net.kill(one)
        gate.set()
        await net.start(service)
        await net.settled()
        before = len(seen)
        await net.advance("1m")

        assert (before, len(seen)) == (1, 2)
        assert await net.dead() == []


async def test_an_event_is_gone_when_its_time_is_over() -> None:
    daily = Topic("points.daily", Award, keep="1d")
    async with network(clock="virtual") as net:
        await net.start(durable(_ignore))
        await net.publish(daily, ANN)
        await net.advance("25h")

        assert (await net.client.broker.describe("points.daily")).messages == 0


async def _ignore(award: Award) -> None: ...
