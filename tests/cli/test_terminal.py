"""No command lets a peer's text control the terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading

import pytest

HOSTILE = "\x1b]0;owned\x07\x9b31m\r\n\x7f\u202egnp"
PEER = f"""
import asyncio, sys
from micro import BadRequest, Service
from micro.registry import EndpointRecord, Node, ServiceRecord, ValueRecord

text = {HOSTILE!r}
service = Service("hostile", metadata={{"zone": text}})

@service.handler
async def fail(request: object) -> str:
    raise BadRequest(text)

@service.handler
async def say(request: object) -> str:
    return text

@service.handler("Hostile.Raw")
async def raw(request: bytes) -> bytes:
    return text.encode()

@service.on_start
async def register() -> None:
    value = ValueRecord(name=text, type=text)
    record = ServiceRecord(
        name="hostile", version=text, metadata={{"a": text}},
        endpoints=(EndpointRecord(name=text, request=value, response=value,
            metadata={{"description": text, "request": text}}),),
        nodes=(Node(id=text, address=text, metadata={{text: text}}),),
    )
    registering = service.client.registry.register(record, ttl=90, interval=30)
    await registering.__aenter__()

service.run()
"""


def is_harmless(out: str) -> bool:
    """Whether there is nothing that a terminal obeys, apart from line ends."""
    return all(char == "\n" or char.isprintable() for char in out)


@pytest.fixture(scope="module")
def hostile(nats):
    """A service whose records, answers and errors hold control characters."""
    running = subprocess.Popen(
        [sys.executable, "-c", PEER],
        env={**os.environ, "MICRO_NATS_ADDRESS": nats},
        stderr=subprocess.PIPE,
        text=True,
    )
    while "ready" not in (line := running.stderr.readline()):
        assert line, "the service ended"
    drain = threading.Thread(target=running.stderr.read, daemon=True)
    drain.start()
    yield nats
    running.terminate()
    running.wait(20)
    drain.join()
    running.stderr.close()


@pytest.mark.parametrize(
    "argv",
    [
        ["services"],
        ["services", "--json"],
        ["describe", "hostile"],
        ["describe", "hostile", "--json"],
        ["call", "hostile", "Hostile.Fail", "{}"],
        ["call", "hostile", "Hostile.Say", "{}"],
        ["call", "hostile", "Hostile.Say", "{}", "--json"],
        ["call", "hostile", "Hostile.Raw", "{}", "--client-content-type=application/octet-stream"],
        ["call", "hostile", "Hostile.Nothing", "{}"],
        ["call", "hostile", HOSTILE, "{}"],
        ["stream", "hostile", "Hostile.Fail", "{}"],
        ["health", "hostile"],
        ["health", HOSTILE],
    ],
    ids=lambda argv: "_".join(argv[:3]).encode("unicode_escape").decode(),
)
def test_what_a_peer_says_is_escaped(argv, hostile, micro, monkeypatch) -> None:
    monkeypatch.setattr("micro.cli.output.on_terminal", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")

    _, out, err = micro(*argv, nats=hostile)

    assert out + err
    assert is_harmless(out + err)


def test_events_are_escaped(nats, micro, program) -> None:
    running = program(
        *("subscribe", "hostile.events", "--count", "2"), environ={"MICRO_NATS_ADDRESS": nats}
    )
    bodies = [HOSTILE, json.dumps(HOSTILE, ensure_ascii=False)]
    while running.process.poll() is None:
        for body in bodies:
            micro("publish", "hostile.events", body, "--client-content-type=text/plain", nats=nats)

    assert running.stop() == 0
    assert "owned" in running.out
    assert is_harmless(running.out)


def test_an_answer_is_exact_where_it_is_not_for_a_terminal(hostile, program) -> None:
    running = program(
        *("call", "hostile", "Hostile.Raw", "{}", "--transport-address", hostile),
        "--client-content-type=application/octet-stream",
        text=False,
    )
    out, _ = running.process.communicate()

    assert out == HOSTILE.encode() + b"\n"


def on_a_terminal(*argv, **environ) -> bytes:
    """What the command writes on a terminal."""
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "micro.cli", *argv],
        stdout=theirs,
        env={**os.environ, **environ},
        check=True,
    )
    os.close(theirs)
    assert done.returncode == 0
    written = os.read(ours, 65_536)
    os.close(ours)
    return written


def test_tables_have_colour_on_a_terminal_unless_no_color_is_set() -> None:
    assert b"\x1b[1mPLUGIN" in on_a_terminal("version", NO_COLOR="")
    assert b"\x1b" not in on_a_terminal("version", NO_COLOR="1")
