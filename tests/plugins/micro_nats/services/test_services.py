"""Services as tools see them that speak the NATS services protocol (ADR-32)."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import nats
import pytest
from pydantic import BaseModel

from micro import Context, NotFound, Service
from micro.settings.load import Settings
from micro_nats.devserver import NatsServer, run_server

NAME = re.compile(r"[A-Za-z0-9\-_]+")
SEMVER = re.compile(r"\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?")


class Award(BaseModel):
    user: str
    points: int


def points(name: str = "points", version: str = "latest") -> Service:
    service = Service(name, version=version)

    @service.handler
    async def award(request: Award, context: Context) -> Award:
        if request.user == "zoe":
            raise NotFound("no such\nuser")
        context.reply_headers["Tier"] = context.headers.get("Tier", "none")
        return request

    @service.handler
    async def large(size: int) -> str:
        return "x" * size

    @service.handler
    async def count(upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            yield number

    return service


def settings(server: NatsServer, **driver: object) -> Settings:
    return Settings(transport_address=(server.address,), plugins={"nats": driver})


async def ask(client: Any, subject: str, body: bytes = b"", **headers: str) -> Any:
    return await client.request(subject, body, timeout=2, headers=headers or None)


async def info(client: Any, verb: str, rest: str = "") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await ask(client, f"$SRV.{verb}{rest}")).data)
    return found


@pytest.mark.both_loops
@pytest.mark.parametrize("rest", ["", ".points", ".points.{id}"])
async def test_a_node_answers_each_question_at_each_level(server, rest) -> None:
    async with points().running(settings=settings(server)):
        client = await nats.connect(server.address)
        id = (await info(client, "PING"))["id"]
        types = [
            (await info(client, verb, rest.format(id=id)))["type"]
            for verb in ("PING", "INFO", "STATS")
        ]
        await client.close()

    assert types == [f"io.nats.micro.v1.{verb}_response" for verb in ("ping", "info", "stats")]


async def test_names_and_versions_are_those_that_tools_accept(server) -> None:
    async with points("go.micro.srv.points").running(settings=settings(server)):
        client = await nats.connect(server.address)
        found = await info(client, "INFO", ".go_micro_srv_points")
        await client.close()

    assert NAME.fullmatch(found["name"])
    assert SEMVER.fullmatch(found["version"])
    assert found["metadata"]["micro.name"] == "go.micro.srv.points"
    assert found["metadata"]["micro.version"] == "latest"
    assert [each["name"] for each in found["endpoints"]] == ["Points_Award", "Points_Large"]
    assert found["endpoints"][0]["queue_group"] == "q"


@pytest.mark.both_loops
async def test_a_plain_request_is_answered_bare_with_its_headers(server) -> None:
    async with points().running(settings=settings(server)):
        client = await nats.connect(server.address)
        answer = await ask(
            client, "svc.points.Points.Award", b'{"user": "ann", "points": 5}', Tier="gold"
        )
        await client.close()

    assert json.loads(answer.data) == {"user": "ann", "points": 5}
    assert answer.headers["Tier"] == "gold"
    assert answer.headers["Content-Type"] == "application/json"
    assert not [name for name in answer.headers if name.startswith("Micro-")]


@pytest.mark.parametrize(
    ("subject", "body", "code", "text"),
    [
        ("Points.Award", b'{"user": "zoe", "points": 5}', "404", "no such user"),
        ("Points.Award", b'{"user": "ann"}', "400", "points"),
        ("Points.Award", b"\xff", "400", ""),
        ("Points.Large", b"3000000", "413", ""),
    ],
)
async def test_an_error_is_told_in_the_headers_of_the_protocol(
    server, subject, body, code, text
) -> None:
    async with points().running(settings=settings(server)):
        client = await nats.connect(server.address)
        answer = await ask(client, f"svc.points.{subject}", body)
        await client.close()

    assert answer.headers["Nats-Service-Error-Code"] == code
    assert text in answer.headers["Nats-Service-Error"]
    assert answer.data == b""


async def test_what_is_counted_is_shown(server) -> None:
    async with points().running(settings=settings(server)):
        client = await nats.connect(server.address)
        for user in ("ann", "bob", "zoe"):
            body = json.dumps({"user": user, "points": 1}).encode()
            await ask(client, "svc.points.Points.Award", body)
        stats = (await info(client, "STATS"))["endpoints"][0]
        await client.close()

    assert (stats["num_requests"], stats["num_errors"]) == (3, 1)
    assert "no such" in stats["last_error"]
    assert isinstance(stats["processing_time"], int)
    assert stats["average_processing_time"] == stats["processing_time"] // 3


async def test_frames_of_our_own_protocol_cannot_be_smuggled_in(server) -> None:
    async with points().running(settings=settings(server)):
        client = await nats.connect(server.address)
        smuggled = {"Micro-Id": "1", "Micro-Stream": "1", "Micro-Endpoint": "Points.Count"}
        answer = await ask(
            client, "svc.points.Points.Award", b'{"user": "ann", "points": 5}', **smuggled
        )
        await client.close()

    assert json.loads(answer.data) == {"user": "ann", "points": 5}


async def test_a_flood_of_questions_is_answered_up_to_a_bound(server) -> None:
    async with points().running(settings=settings(server)):
        client = await nats.connect(server.address)
        answers: list[Any] = []

        async def take(message: Any) -> None:
            answers.append(message)

        inbox = client.new_inbox()
        await client.subscribe(inbox, cb=take)
        for _ in range(2000):
            await client.publish("$SRV.PING", b"", reply=inbox)
        await client.flush()
        body = b'{"user": "ann", "points": 5}'
        answer = await ask(client, "svc.points.Points.Award", body)
        await client.close()

    assert answer.data
    assert len(answers) <= 500


async def test_a_namespace_keeps_requests_apart(server) -> None:
    async with points().running(settings=settings(server, namespace="blue")):
        client = await nats.connect(server.address)
        with pytest.raises(nats.errors.NoRespondersError):
            await ask(client, "svc.points.Points.Large", b"3")
        answer = await ask(client, "blue.svc.points.Points.Large", b"3")
        await client.close()

    assert answer.data.strip() == b'"xxx"'


async def test_one_option_turns_it_off(server) -> None:
    async with points().running(settings=settings(server, services=False)):
        client = await nats.connect(server.address)
        with pytest.raises(nats.errors.NoRespondersError):
            await ask(client, "$SRV.PING")
        await client.close()


async def test_a_user_that_may_not_is_ready_all_the_same(caplog, tmp_path) -> None:
    allowed = 'permissions: {subscribe: {deny: ["$SRV.>", "svc.>"]}}'
    config = f'authorization {{users: [{{user: "a", password: "b", {allowed}}}]}}'
    caplog.set_level("INFO", "micro")
    file = tmp_path / "nats.conf"
    file.write_text(config)
    async with run_server(config=file) as server:
        address = server.address.replace("nats://", "nats://a:b@")
        given = Settings(transport_address=(address,))
        async with points().running(settings=given) as client:
            found = await client.call("points", "Points.Award", Award(user="ann", points=5), Award)

    assert found.points == 5
    assert "tools of NATS do not see points" in caplog.text
    assert "connection denied" not in caplog.text


async def test_a_stopped_service_is_not_seen_any_more(server) -> None:
    async with points().running(settings=settings(server)):
        client = await nats.connect(server.address)
        assert await info(client, "PING")

    async def gone() -> bool:
        try:
            await ask(client, "$SRV.PING")
        except nats.errors.NoRespondersError:
            return True
        return False

    assert await gone()
    await client.close()
