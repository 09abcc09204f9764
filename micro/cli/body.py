"""What the commands send: bodies from the command line, a file or standard input, and headers."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from pathlib import Path

import click

from micro.codec import Raw

__all__ = ["check_body", "headers_from", "read_body", "read_lines"]

CHUNK_BYTES = 65_536
MAX_LINES_AHEAD = 64


def headers_from(pairs: Iterable[str]) -> dict[str, str]:
    """Read headers written as `name:value`.

    Raises:
        click.UsageError: one has no colon or no name.
    """
    headers = {}
    for pair in pairs:
        name, colon, value = pair.partition(":")
        if not colon or not name.strip():
            raise click.UsageError(f"header {pair!r}: write it as NAME:VALUE")
        headers[name.strip()] = value.strip()
    return headers


def read_body(text: str, content_type: str) -> Raw:
    """Read a body: `-` for standard input, `@path` for a file, else the text itself.

    Raises:
        click.UsageError: the file cannot be read, or the content type is JSON and the body is not.
    """
    if text == "-":
        body = sys.stdin.buffer.read()
    elif text.startswith("@"):
        try:
            body = Path(text[1:]).read_bytes()
        except OSError as error:
            raise click.UsageError(f"cannot read {text[1:]!r}: {error.strerror}") from error
    else:
        body = os.fsencode(text)
    return check_body(body, content_type)


def check_body(body: bytes, content_type: str) -> Raw:
    """Return the body; one that is sent as JSON must be JSON."""
    if content_type.partition(";")[0].strip() == "application/json":
        try:
            json.loads(body)
        except ValueError as error:
            shown = body[:40].decode(errors="replace")
            raise click.UsageError(f"the body is not JSON: {error}; it begins {shown!r}") from error
    return Raw(body)


async def read_lines(content_type: str) -> AsyncIterator[Raw]:
    """Read bodies from standard input, one from each line that is not blank, as it comes."""
    loop = asyncio.get_running_loop()
    ahead = threading.Semaphore(MAX_LINES_AHEAD)
    # Bounded by `ahead`: the thread waits for it before each line.
    lines: asyncio.Queue[bytes | None] = asyncio.Queue()

    def give(line: bytes | None) -> None:
        ahead.acquire()
        loop.call_soon_threadsafe(lines.put_nowait, line)

    # A thread of its own: the loop waits for its pool when it closes, and a pool's thread would
    # wait for a line that may never be typed.
    threading.Thread(target=_read_stdin, args=(give,), daemon=True).start()
    while (line := await lines.get()) is not None:
        ahead.release()
        if line.strip():
            yield check_body(line, content_type)


def _read_stdin(give: Callable[[bytes | None], None]) -> None:
    """Give each line, then `None`. Reading the descriptor takes no lock that exit waits for."""
    rest = b""
    descriptor = sys.stdin.fileno()
    # The loop may have been closed while this thread waited for a line.
    with suppress(RuntimeError):
        while chunk := os.read(descriptor, CHUNK_BYTES):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                give(line)
        give(rest)
        give(None)
