"""A server, a service that runs on it, and the command in this process or in one of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from micro.cli import main
from micro_nats.devserver import NatsServer

POINTS = """
import asyncio
from collections.abc import AsyncIterator
from pydantic import BaseModel
from micro import NotFound, Service, Unavailable

class Award(BaseModel):
    user: str
    points: int

service = Service("points", version="1.0.0", metadata={"zone": "a"})

@service.handler
async def award(request: Award) -> Award:
    if request.user == "zoe":
        raise NotFound("no such user")
    return request

@service.handler
async def hang(request: Award) -> Award:
    await asyncio.Event().wait()
    return request

@service.handler
async def refuse(request: Award) -> Award:
    raise Unavailable("not today")

@service.handler
async def count(request: Award) -> AsyncIterator[Award]:
    for number in range(request.points):
        yield Award(user=request.user, points=number)

@service.handler
async def double(requests: AsyncIterator[Award]) -> AsyncIterator[Award]:
    async for request in requests:
        yield Award(user=request.user, points=2 * request.points)

@service.subscriber("orders.created")
async def on_order(event: Award) -> None: ...
"""


class Program:
    """`micro` in a process of its own, and what it writes on standard error."""

    def __init__(self, argv, *, environ=None, cwd=None, stdin=subprocess.DEVNULL, **options):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "micro.cli", *argv],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={**os.environ, **(environ or {})},
            **{"text": True, **options},
        )
        self.log = []

    def wait_for(self, text, times=1):
        """Read the log until a text was there so often; the test's timeout is the limit."""
        while sum(text in line for line in self.log) < times:
            line = self.process.stderr.readline()
            assert line, f"ended without {text!r}: {''.join(self.log)}"
            self.log.append(line)
        return next(line for line in reversed(self.log) if text in line)

    def stop(self, number=None):
        """Signal it and return its exit code."""
        if self.process.poll() is None and number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        self.out = out
        self.log.append(err)
        return self.process.returncode


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """The command sets logging up; what comes after it must not notice."""
    root, ours = logging.getLogger(), logging.getLogger("micro")
    before = (root.level, list(root.handlers), ours.level)
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    ours.setLevel(before[2])


@pytest.fixture
def program():
    """Start programs that end with the test."""
    started = []

    def start(*argv, **options):
        started.append(Program(argv, **options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


@pytest.fixture(scope="session")
def nats():
    """The address of a server for all tests of the command."""
    server = NatsServer()
    server.start()
    asyncio.run(server.wait())
    yield server.address
    server.stop()


@pytest.fixture
def points_file(tmp_path):
    path = tmp_path / "points_service.py"
    path.write_text(POINTS)
    return path


@pytest.fixture(scope="session")
def points(nats, tmp_path_factory):
    """A service that runs on the server."""
    path = Path(tmp_path_factory.mktemp("points"), "points_service.py")
    path.write_text(POINTS)
    running = Program(["run", str(path)], environ={"MICRO_NATS_ADDRESS": nats})
    running.wait_for("ready: points")
    # A full pipe would block the service, so its log is read to the end.
    drain = threading.Thread(target=running.process.stderr.read, daemon=True)
    drain.start()
    yield nats
    running.process.terminate()
    assert running.process.wait(20) == 0
    drain.join()
    running.process.stdout.close()
    running.process.stderr.close()


@pytest.fixture
def micro(monkeypatch, capsys):
    """Run the command in this process: exit code, standard output and standard error."""
    for name in [name for name in os.environ if name.startswith("MICRO_")]:
        monkeypatch.delenv(name)

    def run(*argv, nats="", stdin=None):
        if nats:
            monkeypatch.setenv("MICRO_NATS_ADDRESS", nats)
        if stdin is not None:
            monkeypatch.setattr("sys.stdin", stdin)
        code = main(argv)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run
