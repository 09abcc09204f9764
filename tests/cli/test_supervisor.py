"""The supervisor, with small programs as workers."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from micro.cli.changes import poll_changes, watch_changes
from micro.cli.supervisor import Pauses, Supervisor
from micro.scope import open_scope

QUICK = Pauses(first=0.01, longest=0.02, grace=5)
OBEY = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0));"


def command(code):
    return [sys.executable, "-c", code]


def told(number=signal.SIGTERM):
    """Code that signals this process."""
    return f"import os; os.kill({os.getpid()}, {int(number)});"


async def test_a_signal_reaches_every_worker_and_all_end_well() -> None:
    quiet = OBEY + "signal.pause()"
    loud = OBEY + told() + "signal.pause()"

    assert await Supervisor([("a", command(quiet)), ("b", command(loud))]).run() == 0


async def test_a_worker_that_ends_is_started_again(tmp_path) -> None:
    code = (
        f"{OBEY} f = open({str(tmp_path / 'log')!r}, 'a'); f.write('x'); f.close();"
        f"n = open({str(tmp_path / 'log')!r}).read().count('x');"
        f"sys.exit(n % 2) if n < 4 else None; {told()} signal.pause()"
    )

    assert await Supervisor([("a", command(code))], pauses=QUICK).run() == 0
    assert (tmp_path / "log").read_text() == "xxxx"


async def test_a_worker_that_cannot_be_helped_ends_all() -> None:
    workers = [("a", command(OBEY + "signal.pause()")), ("b", command("raise SystemExit(2)"))]

    assert await Supervisor(workers, pauses=QUICK).run() == 2


async def test_a_worker_that_does_not_stop_is_killed() -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + told()
    pauses = Pauses(grace=0.1)

    assert await Supervisor([("a", command(deaf + "signal.pause()"))], pauses=pauses).run() == 1


async def test_a_second_signal_ends_at_once() -> None:
    deaf = f"import signal; signal.signal(signal.SIGTERM, lambda *_: os.kill({os.getpid()}, 2));"
    code = told().split(";")[0] + ";" + deaf + told() + "\nwhile True: signal.pause()"

    assert await Supervisor([("a", command(code))], pauses=Pauses(grace=60)).run() == 1


async def test_a_change_replaces_the_workers(tmp_path) -> None:
    path, log = str(tmp_path / "shop.py"), str(tmp_path / "log")
    # The first keeps changing the file that is watched; the second says stop.
    code = (
        f"{OBEY} import time; open({log!r}, 'a').write('x')\n"
        f"if open({log!r}).read() == 'xx': {told()}\n"
        f"while True: open({path!r}, 'a').write('x'); time.sleep(0.02)"
    )
    changes = poll_changes([tmp_path], interval=0.02)

    assert await Supervisor([("a", command(code))], changes=changes).run() == 0


async def test_a_broken_worker_waits_for_a_change(tmp_path) -> None:
    async def changes():
        os.kill(os.getpid(), signal.SIGTERM)
        yield {tmp_path}

    code = "raise SystemExit(2)"

    assert await Supervisor([("a", command(code))], changes=changes()).run() in (0, 1)


@pytest.mark.parametrize("watch", [watch_changes, lambda roots: poll_changes(roots, 0.02)])
async def test_changes_of_python_files_are_seen(watch, tmp_path) -> None:
    (tmp_path / ".hidden").mkdir()
    seen = set()

    async def follow():
        async for changed in watch([tmp_path]):
            seen.update(path.name for path in changed)
            if "new.py" in seen:
                return

    async with open_scope() as scope:
        scope.start(follow())
        number = 0
        # It cannot say when it has begun to look: write until it has seen one.
        while not await scope.settle(0.05):
            number += 1
            (tmp_path / "notes.txt").write_text(str(number))
            (tmp_path / "new.py").write_text("x" * number)

    assert seen == {"new.py"}


def test_pauses_grow_to_a_bound() -> None:
    pauses = Pauses(first=1, longest=8)

    assert all(0.5 <= pauses.before(1) <= 1 for _ in range(50))
    assert 4 <= pauses.before(10_000) <= 8
