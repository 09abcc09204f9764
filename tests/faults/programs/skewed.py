"""The service of `points` on a machine whose wall clock is wrong by `CLOCK_SHIFT` seconds."""

from __future__ import annotations

import os
import time

shift = float(os.environ.get("CLOCK_SHIFT", "0"))
_time, _time_ns = time.time, time.time_ns
# Before anything else is imported, so that no module keeps the real clocks.
time.time = lambda: _time() + shift
time.time_ns = lambda: _time_ns() + int(shift * 1e9)

from micro import Context  # noqa: E402
from tests.faults.programs.points import Job, service  # noqa: E402


@service.handler
async def clock() -> float:
    """What this machine takes for the time."""
    return time.time()


@service.handler
async def jump(seconds: float) -> float:
    """Set the wall clock forward or back."""
    global shift
    shift += seconds
    return time.time()


@service.handler(idempotent=True)
async def left(job: Job, ctx: Context) -> float:
    """How long the caller will wait, as far as is known here."""
    return ctx.remaining() or 0.0


if __name__ == "__main__":
    service.run()
