"""Random faults under a steady load, and a check of everything that happened."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter

import pytest

from tests.faults.clock import lasts, succeeds
from tests.faults.load import client_of, run_load
from tests.faults.network import run_fleet
from tests.faults.proxy import run_proxy

MINUTES = float(os.environ.get("SOAK_MINUTES", "0.5"))
SEED = int(os.environ.get("SOAK_SEED", str(time.time_ns() % 1_000_000)))
DEADLINE = 3.0


class Soak:
    """Faults by the roll of a die.

    Attributes:
        done: How often each was made.
        excused: Spans of time in which an event may be lost, confirmed or not: its subscriber was
            killed or cut off before the handler had it.
    """

    def __init__(self, server, far, proxy, fleet) -> None:
        self.server = server
        self.far = far
        self.proxy = proxy
        self.fleet = fleet
        self.dice = random.Random(SEED)
        self.done = Counter()
        self.excused = []

    async def one(self) -> None:
        name = self.dice.choice(("restart", "crash", "freeze", "outage", "cut", "sever", "silence"))
        self.done[name] += 1
        await getattr(self, name)()
        await lasts(self.dice.uniform(0.5, 2.0))

    def victim(self):
        # The first instance is only frozen and cut off, so that its memory can be followed.
        return self.dice.choice(list(self.fleet.programs)[1:])

    async def restart(self) -> None:
        name = self.victim()
        await self.fleet.start()
        program = self.fleet.programs.pop(name)
        await program.stop()
        assert program.process.returncode == 0, program.log[-10:]

    async def crash(self) -> None:
        program = self.fleet.programs.pop(self.victim())
        now = time.monotonic()
        program.signal(signal.SIGKILL)
        await program.gone()
        self.excused.append((now - 1.0, time.monotonic() + 0.5))
        await self.fleet.start()

    async def freeze(self) -> None:
        program = self.fleet[self.dice.choice(list(self.fleet.programs))]
        program.signal(signal.SIGSTOP)
        await lasts(self.dice.uniform(0.5, 2.0))
        program.signal(signal.SIGCONT)

    async def outage(self) -> None:
        now = time.monotonic()
        self.server.kill()
        await lasts(self.dice.uniform(0.2, 3.0))
        self.server.start()
        await self.server.wait()
        # Until the subscribers are back, events are taken by a server that knows of none.
        self.excused.append((now - 1.0, time.monotonic() + 5.0))

    async def cut(self) -> None:
        self.proxy.cut()

    async def sever(self) -> None:
        """Cut the services off, while their callers notice nothing."""
        now = time.monotonic()
        self.far.cut()
        await lasts(1.0)
        # What the server had sent them is lost, and what it got until they were back.
        self.excused.append((now - 1.0, time.monotonic() + 1.0))

    async def silence(self) -> None:
        self.proxy.silent = True
        await lasts(self.dice.uniform(0.5, 2.0))
        self.proxy.silent = False
        self.proxy.cut()  # bytes were lost: it cannot go on


@pytest.mark.slow
@pytest.mark.timeout(MINUTES * 60 + 120)
async def test_nothing_that_was_promised_is_broken_by_random_faults(
    server, tmp_path, verdict
) -> None:
    row = verdict(
        f"Random faults for {MINUTES:g} min under 100 calls and events/s",
        "every call ends within its deadline + 1 s; nothing that is not idempotent runs twice; no "
        "confirmed event is lost unless who had it was killed or cut off; memory flat",
    )
    print(f"seed {SEED}")
    async with (
        run_proxy(server.address) as far,
        run_proxy(server.address) as proxy,
        run_fleet([far.address], tmp_path) as fleet,
        client_of(proxy.address) as client,
        run_load(client, rate=100, timeout=DEADLINE) as load,
    ):
        soak = Soak(server, far, proxy, fleet)
        steady = fleet["n1"]
        await lasts(3.0)
        memory, ends = steady.memory(), time.monotonic() + MINUTES * 60
        while time.monotonic() < ends:
            await soak.one()
        await lasts(1.0)
        await load.stop()
        await succeeds(lambda: client.call("points", "Points.Read", {"number": 0}, timeout=1.0))
        grown = steady.memory() - memory
        promised = [
            number
            for number, (began, ended) in load.confirmed.items()
            if not any(start < ended and began < end for start, end in soak.excused)
        ]
        for number in set(promised) - set(fleet.journal.counts("event")):
            await fleet.journal.has("event", number, timeout=3.0)
        twice = fleet.journal.twice("award")
        traces = sum(program.said("Traceback") for program in fleet.programs.values())

    slowest = max(call.seconds for call in load.calls)
    good = 1 - len(load.failed) / len(load.calls)
    faults = ", ".join(f"{times} {name}" for name, times in sorted(soak.done.items()))
    row.measured = (
        f"seed {SEED}: {faults}; {len(load.calls)} calls ({good:.2%} succeeded), "
        f"slowest {slowest:.2f} s; {len(twice)} ran twice; 0 of {len(promised)} events lost; "
        f"{grown:+.1f} MiB"
    )
    print(row.measured)
    assert slowest < DEADLINE + 1.0
    assert not twice
    assert not traces
    assert {call.error for call in load.failed} <= {
        *("ConnectionLost", "DeadlineExceeded", "Unavailable", "NoResponders", "SocketClosed"),
        "NotFound",
    }, load.errors
    assert grown < 8.0 + MINUTES
