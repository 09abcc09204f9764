"""A service that starts, runs and stops in the ways that its first argument names."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator

from micro import Service

service = Service("points")
way = sys.argv.pop(1)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@service.on_start
async def open_database() -> None:
    say("opened")


@service.on_stop
async def close_database() -> None:
    say("closed")


@service.on_start
async def load_cache() -> None:
    if way == "hanging start hook":
        say("loading")
        await asyncio.Event().wait()


@service.on_start
def load_table() -> None:
    if way == "blocking start hook":
        say("loading")
        time.sleep(600)
    if way == "failing start hook":
        raise LookupError("no database")


@service.on_start
def start_thread() -> None:
    if way == "thread":
        threading.Thread(target=threading.Event().wait, name="forgotten").start()


@service.on_stop
async def write_back() -> None:
    if way == "hanging stop hook":
        await asyncio.Event().wait()


@service.on_stop
def write_back_slowly() -> None:
    if way == "blocking stop hook":
        time.sleep(600)


@service.handler
def fork() -> str:
    """Start a child and end it with SIGTERM at once, and another one once it runs."""
    context = multiprocessing.get_context("fork")
    codes = []
    for wait in (False, True):
        running = context.Event()
        child = context.Process(target=_child, args=(running,))
        child.start()
        if wait:
            running.wait()
        child.terminate()
        child.join()
        codes.append(child.exitcode)
    return str(codes)


def _child(running: object) -> None:
    running.set()  # type: ignore[attr-defined]  # an event of multiprocessing
    signal.pause()


@service.handler
async def ticks() -> AsyncIterator[int]:
    number = 0
    while True:
        yield number
        number += 1
        await asyncio.sleep(0.05)


@service.handler
async def silence() -> AsyncIterator[int]:
    yield 0
    await asyncio.Event().wait()


if __name__ == "__main__":
    service.run()
