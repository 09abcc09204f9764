"""The server that tests of stored events share."""

from __future__ import annotations

import asyncio
import json

from micro.backend import BackendOptions
from micro_nats.connection.connection import open_connection
from micro_nats.connection.requests import Requests
from micro_nats.devserver import NatsServer


async def _account(server: NatsServer) -> dict[str, object]:
    async with open_connection(BackendOptions(addresses=(server.address,))) as connection:
        answer = await Requests(connection).request("$JS.API.INFO", timeout=5)
    return json.loads(answer.payload)


async def test_the_shared_server_stores_in_files(jetstream_server: NatsServer) -> None:
    account = await _account(jetstream_server)

    assert account["type"] == "io.nats.jetstream.api.v1.account_info_response"
    assert account["limits"]["max_storage"] != 0


async def test_a_server_of_its_own_is_back_after_a_kill(own_jetstream_server: NatsServer) -> None:
    await asyncio.to_thread(own_jetstream_server.kill)
    own_jetstream_server.start()
    await own_jetstream_server.wait()

    assert "error" not in await _account(own_jetstream_server)
