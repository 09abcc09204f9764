"""The supervisor, with small programs as workers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from micro.cli.changes import require_watchfiles, watch_changes
from micro.cli.supervisor import Pauses, Supervisor
from micro.errors import ConfigError, Unavailable
from micro.scope import open_scope

QUICK = Pauses(first=0.01, longest=0.02, grace=5)
# A worker that speaks with its supervisor as `micro run` does, and ends at SIGTERM.
WORKER = """
import json, os, signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
link = socket.socket(fileno=int(os.environ["MICRO_SUPERVISOR_FD"])).makefile("rw")
flags = json.loads(link.readline())["flags"]
def say(**message):
    print(json.dumps(message), file=link, flush=True)
def begin(exclusive=False):
    say(exclusive=exclusive)
    assert json.loads(link.readline()) == {"start": True}
def note(text):
    with open(flags[0], "a") as file:
        file.write(text)
"""


def command(code):
    return [sys.executable, "-c", WORKER + code]


async def until(true):
    """Let the event loop turn until something is true; the test's timeout is the limit."""
    while not true():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)


def tell(number=signal.SIGTERM):
    """Code that signals this process."""
    return f"os.kill({os.getpid()}, {int(number)})\n"


async def test_a_signal_reaches_every_worker_and_all_end_well() -> None:
    quiet = "begin()\nsignal.pause()"
    loud = "begin()\n" + tell() + "signal.pause()"

    assert await Supervisor([("a", command(quiet)), ("b", command(loud))]).run() == 0


async def test_a_worker_that_ends_is_started_again(tmp_path) -> None:
    log = tmp_path / "log"
    code = (
        "begin()\nsay(ready=True)\nnote('x')\nn = open(flags[0]).read().count('x')\n"
        f"if n < 4: sys.exit(n % 2)\n{tell()}signal.pause()"
    )

    assert await Supervisor([("a", command(code))], flags=[str(log)], pauses=QUICK).run() == 0
    assert log.read_text() == "xxxx"


async def test_a_worker_that_cannot_run_at_all_ends_all() -> None:
    workers = [("a", command("begin()\nsignal.pause()")), ("b", command("raise SystemExit(2)"))]

    assert await Supervisor(workers, pauses=QUICK).run() == 2


async def test_a_worker_that_does_not_stop_is_killed() -> None:
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nbegin()\n" + tell()
    pauses = Pauses(grace=0.1)

    assert await Supervisor([("a", command(deaf + "signal.pause()"))], pauses=pauses).run() == 1


async def test_a_second_signal_kills_the_workers(monkeypatch) -> None:
    monkeypatch.setattr("micro.runtime.signals.SECOND_SIGNAL_SECONDS", 0.05)
    deaf = (
        "import time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nbegin()\n"
        f"while True:\n    {tell()}    time.sleep(0.02)"
    )

    assert await Supervisor([("a", command(deaf))], pauses=Pauses(grace=60)).run() == 1


async def test_a_new_worker_is_ready_before_the_old_one_is_stopped(tmp_path) -> None:
    log = tmp_path / "log"
    code = """
def stopped(*_):
    note("stop ")
    sys.exit(0)
begin()
signal.signal(signal.SIGTERM, stopped)
note("ready ")
say(ready=True)
for line in link: pass
"""

    async def changes():
        await until(lambda: "ready" in (log.read_text() if log.exists() else ""))
        yield {tmp_path}
        await until(lambda: "stop" in log.read_text())
        os.kill(os.getpid(), signal.SIGTERM)

    supervisor = Supervisor([("a", command(code))], flags=[str(log)], changes=changes())

    assert await supervisor.run() == 0
    assert log.read_text() == "ready ready stop stop "


async def test_a_worker_with_a_fixed_address_is_stopped_before_its_successor_starts(
    tmp_path,
) -> None:
    log = tmp_path / "log"
    code = """
def stopped(*_):
    note("stop ")
    sys.exit(0)
signal.signal(signal.SIGTERM, stopped)
begin(exclusive=True)
note("ready ")
say(ready=True)
for line in link: pass
"""

    async def changes():
        await until(lambda: "ready" in (log.read_text() if log.exists() else ""))
        yield {tmp_path}
        await until(lambda: log.read_text().count("ready") == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    supervisor = Supervisor([("a", command(code))], flags=[str(log)], changes=changes())

    assert await supervisor.run() == 0
    assert log.read_text() == "ready stop ready stop "


async def test_a_new_version_that_crashes_keeps_the_old_one_serving(tmp_path, caplog) -> None:
    log = tmp_path / "log"
    code = """
begin()
note("x")
if open(flags[0]).read() == "xx":
    sys.exit(7)
say(ready=True)
for line in link:
    say(check=json.loads(line)["check"], problem="")
"""
    checked = []

    async def changes():
        await until(lambda: log.exists())
        yield {tmp_path}
        await until(lambda: "the old one goes on serving" in caplog.text)
        checked.append(await supervisor.check())
        os.kill(os.getpid(), signal.SIGTERM)

    supervisor = Supervisor([("a", command(code))], flags=[str(log)], changes=changes())

    assert await supervisor.run() == 0
    assert checked == [None]
    assert "a: the new version ended with code 7; the old one goes on serving" in caplog.text


async def test_hangup_replaces_the_workers(tmp_path) -> None:
    log = tmp_path / "log"
    code = (
        "begin()\nnote('x')\nsay(ready=True)\n"
        f"if open(flags[0]).read() == 'x': {tell(signal.SIGHUP)}"
        f"else: {tell()}"
        "for line in link: pass"
    )

    assert await Supervisor([("a", command(code))], flags=[str(log)]).run() == 0
    assert log.read_text() == "xx"


async def test_the_supervisor_is_ready_when_all_workers_are(tmp_path) -> None:
    answers = "begin()\nsay(ready=True)\nfor line in link:\n"
    fine = answers + "    say(check=json.loads(line)['check'], problem='')"
    ill = answers + "    say(check=json.loads(line)['check'], problem='no database')"
    found = []

    async def changes():
        while len(found) < 1 or "not started" in found[-1]:
            with pytest.raises(Unavailable) as caught:
                await supervisor.check()
            found.append(caught.value.detail.replace("is not running", "has not started"))
        os.kill(os.getpid(), signal.SIGTERM)
        yield set()

    workers = [("good", command(fine)), ("bad", command(ill))]
    supervisor = Supervisor(workers, changes=changes())

    assert await supervisor.run() == 0
    assert found[-1] == "bad: no database"


async def test_a_broken_worker_waits_for_a_change(tmp_path) -> None:
    async def changes():
        os.kill(os.getpid(), signal.SIGTERM)
        yield {tmp_path}

    code = "raise SystemExit(2)"

    assert await Supervisor([("a", command(code))], changes=changes()).run() in (0, 1)


async def test_changes_of_python_files_are_seen(tmp_path) -> None:
    seen = set()

    async def follow():
        async for changed in watch_changes([tmp_path]):
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


def test_reload_without_watchfiles_says_how_to_install_it(monkeypatch) -> None:
    monkeypatch.setattr("micro.cli.changes.find_spec", lambda _: None)

    with pytest.raises(ConfigError, match=r"pip install 'micro-rpc\[reload\]'"):
        require_watchfiles()


def test_pauses_grow_to_a_bound() -> None:
    pauses = Pauses(first=1, longest=8)

    assert all(0.5 <= pauses.before(1) <= 1 for _ in range(50))
    assert 4 <= pauses.before(10_000) <= 8
