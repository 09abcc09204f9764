"""Compressed bodies of requests."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from micro import Service
from micro.concurrency.budget import process_budget
from micro.server import bodies
from micro.wire.compression import CONTENT_ENCODING
from micro.wire.errors import error_from_wire
from micro.wire.headers import ERROR
from tests.engine import raw, running


@pytest.fixture
def service() -> Service:
    service = Service("points")

    @service.handler
    async def size(request: str) -> int:
        return len(request)

    return service


BOMB = gzip.compress(b'"' + b"x" * 20_000_000 + b'"')


async def test_a_body_is_expanded_after_its_endpoint_was_found(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    expanded = []
    monkeypatch.setattr(bodies, "decompress", lambda *args: expanded.append(args))

    async with running(service) as client, raw(client) as peer:
        peer.request("Points.Nope", BOMB, **{CONTENT_ENCODING: "gzip"})
        assert error_from_wire((await peer.reply()).headers[ERROR]).code == 404

    assert not expanded


async def test_expanded_bytes_count_in_the_budget_until_the_call_ends() -> None:
    service = Service("points")
    held = process_budget().held
    seen: list[int] = []

    @service.handler
    async def look(request: str) -> None:
        seen.append(process_budget().held - held)

    async with running(service) as client, raw(client) as peer:
        body = gzip.compress(b'"' + b"xy" * 50_000 + b'"')
        peer.request("Points.Look", body, **{CONTENT_ENCODING: "gzip"})
        assert ERROR not in (await peer.reply()).headers

    assert seen == [100_002]
    assert process_budget().held == held


async def test_a_body_over_the_budget_is_refused(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(service) as client, raw(client) as peer:
        monkeypatch.setattr(process_budget(), "limit", process_budget().held + 1000)
        body = gzip.compress(b'"' + b"xy" * 50_000 + b'"')
        peer.request("Points.Size", body, **{CONTENT_ENCODING: "gzip"})
        error = error_from_wire((await peer.reply()).headers[ERROR])

    assert error.code == 429


async def test_the_event_loop_turns_while_a_large_body_is_expanded(service: Service) -> None:
    async with running(service) as client, raw(client) as peer:
        peer.request("Points.Size", BOMB, **{CONTENT_ENCODING: "gzip"})
        turns = 0
        replying = asyncio.ensure_future(peer.reply())
        while not replying.done():
            turns += 1
            await asyncio.sleep(0)

    assert turns > 20
