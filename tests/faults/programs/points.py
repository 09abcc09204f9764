"""A service under test: its handlers write down what they did before they answer."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator

from pydantic import BaseModel

from micro import Context, Service

NODE = os.environ.get("POINTS_NODE", "points")
LIMIT = int(os.environ.get("POINTS_LIMIT", "10"))
JOURNAL = os.open(os.environ["POINTS_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

service = Service("points", version="1.0.0", metadata={"zone": NODE})


class Job(BaseModel):
    number: int
    seconds: float = 0.0


class Done(BaseModel):
    number: int
    node: str


def note(kind: str, number: int) -> None:
    """Append one line in one write: lines of several processes do not mix."""
    os.write(JOURNAL, f"{kind} {number} {NODE} {time.monotonic():.6f}\n".encode())


async def work(kind: str, job: Job) -> Done:
    note(kind, job.number)
    if job.seconds:
        await asyncio.sleep(job.seconds)
    return Done(number=job.number, node=NODE)


@service.handler(idempotent=True)
async def read(job: Job) -> Done:
    return await work("read", job)


@service.handler
async def award(job: Job) -> Done:
    return await work("award", job)


def burn_processor(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@service.handler
async def burn(job: Job) -> Done:
    note("burn", job.number)
    burn_processor(job.seconds)
    return Done(number=job.number, node=NODE)


@service.handler
async def burn_later(job: Job) -> Done:
    note("burn_later", job.number)
    await asyncio.sleep(0)
    burn_processor(job.seconds)
    return Done(number=job.number, node=NODE)


@service.handler
async def burn_after_wait(job: Job) -> Done:
    """Wait as for a database, then use the processor for the answer."""
    await asyncio.sleep(0.02)
    note("burn_after_wait", job.number)
    burn_processor(job.seconds)
    return Done(number=job.number, node=NODE)


@service.handler
def burn_in_thread(job: Job) -> Done:
    note("burn_in_thread", job.number)
    burn_processor(job.seconds)
    return Done(number=job.number, node=NODE)


@service.handler(max_concurrency=LIMIT)
async def scarce(job: Job) -> Done:
    return await work("scarce", job)


@service.handler(idempotent=True)
async def cancelled(job: Job) -> Done:
    try:
        return await work("begun", job)
    except asyncio.CancelledError:
        note("cancelled", job.number)
        raise


@service.handler(idempotent=True)
async def forward(job: Job, ctx: Context) -> Done:
    """Pass a job on, `number` times, then hang."""
    note("forward", job.number)
    try:
        if job.number == 0:
            await asyncio.Event().wait()
        return await service.client.call(
            "points", "Points.Forward", Job(number=job.number - 1), Done, timeout=None
        )
    except asyncio.CancelledError:
        note("left", job.number)
        raise


@service.handler
async def stuck(job: Job) -> Done:
    """Never end, whatever the framework does about it."""
    note("stuck", job.number)
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


@service.handler
async def block(job: Job) -> Done:
    """Block the event loop, as careless code does."""
    note("block", job.number)
    time.sleep(job.seconds)  # noqa: ASYNC251 - the fault itself
    return Done(number=job.number, node=NODE)


@service.handler(idempotent=True)
async def swell(job: Job) -> str:
    """Answer with `number` bytes."""
    return "x" * job.number


@service.handler
async def beats(job: Job) -> AsyncIterator[Done]:
    """Send one item, then nothing."""
    yield Done(number=job.number, node=NODE)
    await asyncio.Event().wait()


@service.subscriber("points.happened")
async def happened(job: Job) -> None:
    await asyncio.sleep(job.seconds)
    note("event", job.number)


@service.subscriber("points.burned")
async def burned(job: Job) -> None:
    burn_processor(job.seconds)
    note("burned", job.number)


@service.subscriber("points.flooded")
async def flooded(event: bytes) -> None:
    await asyncio.Event().wait()


if __name__ == "__main__":
    service.run()
