"""A service that fails for as long as it is told to, and counts what reaches it."""

from __future__ import annotations

from collections import Counter

from pydantic import BaseModel

from micro import InternalError, MicroError, ResourceExhausted, Service, Unavailable

ERRORS: dict[str, type[MicroError]] = {
    error.__name__: error for error in (InternalError, ResourceExhausted, Unavailable)
}

service = Service("points", version="1.0.0")
counts: Counter[str] = Counter()
fault = ""


class Job(BaseModel):
    number: int


class Done(BaseModel):
    number: int


@service.handler(idempotent=True)
async def read(job: Job) -> Done:
    counts[fault] += 1
    if fault:
        raise ERRORS[fault]("the backend is down")
    return Done(number=job.number)


@service.handler
async def fail(error: str) -> dict[str, int]:
    """From now on answer with this error, or well if it is empty; how often each was met."""
    global fault
    fault = error
    return dict(counts)


if __name__ == "__main__":
    service.run()
