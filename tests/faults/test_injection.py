"""Names and headers that would say something else on the wire, if they came to be written there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import nats
import pytest
from nats.aio.msg import Msg

from micro import Client, Context, MicroError, Service
from micro.errors import CodecError, InvalidName
from micro.settings.load import Settings
from micro.testing import Signal
from micro_nats.devserver import NatsServer
from micro_nats.registry.subjects import QUERY_TOPICS
from tests.faults.load import client_of

BAD = {
    "empty": "",
    "blank": "a b",
    "tab": "a\tb",
    "command": "a\r\nPUB stolen 2\r\nhi\r\n",
    "carriage return": "a\rb",
    "line feed": "a\nb",
    "nul": "a\x00b",
    "empty token": "a..b",
    "leading dot": ".a",
    "trailing dot": "a.",
    "300 characters": "x" * 300,
    "a thousand tokens": ".".join("x" * 1000),
    "half a character": "a\ud800",
    "wide blank": "a\u2003b",
    "next line": "a\x85b",
}
WILD = {"star": "a.*", "rest": "a.>", "only rest": ">"}
HEADERS = {
    "X-Plain": "value",
    "X-Split": "a\r\nMicro-Id: 7\r\n\r\nPUB stolen 2\r\nhi\r\n",
    "X-Line\r\nStolen": "by the name",
    "X-Colon: x": "a: b: c",
    "X-Nul\x00": "a\x00b",
    "X-Empty": "",
    "": "without a name",
    " X-Blank ": " kept ",
    "X-Größe \u2028": "π ≈ 3 \U0001f600",
    "Nats-Msg-Id": "1",
    "Nats-Expected-Stream": "s",
    "Status": "503",
    'X-"Quote\\': '"}],"Body":"',
    "x" * 300: "y" * 300,
    "X-Large": "z" * 65_536,
}
RESERVED = {"Micro-Id": "7", "micro-endpoint": "A.B", "Timeout": "1", "Content-Type": "no/such"}


class Wire:
    """All that goes through a server, as another client sees it."""

    def __init__(self) -> None:
        self.messages: list[Msg] = []
        self._signal = Signal()

    async def take(self, message: Msg) -> None:
        self.messages.append(message)
        self._signal.set()

    async def has(self, subject: str) -> Msg:
        """Wait until something went to a subject."""
        await self._signal.until(
            lambda: any(each.subject == subject for each in self.messages),
            lambda: f"only {sorted({each.subject for each in self.messages})}",
        )
        return next(each for each in self.messages if each.subject == subject)


@asynccontextmanager
async def watched(server: NatsServer) -> AsyncIterator[Wire]:
    wire = Wire()
    client = await nats.connect(server.address)
    await client.subscribe(">", cb=wire.take)
    await client.flush()
    try:
        yield wire
    finally:
        await client.close()


def echoing() -> tuple[Service, list[dict[str, str]], Signal]:
    """A service that hands back the headers of calls, and keeps those of events."""
    service, kept, signal = Service("echoing"), list[dict[str, str]](), Signal()

    @service.handler
    async def headers(ctx: Context) -> dict[str, str]:
        return dict(ctx.headers)

    @service.subscriber("user.A")
    async def happened(event: str, ctx: Context) -> None:
        kept.append({"event": event, **ctx.headers})
        signal.set()

    return service, kept, signal


async def outcome(attempt: Awaitable[object]) -> str:
    """The class of the error in which something ends."""
    try:
        await attempt
    except MicroError as error:
        return type(error).__name__
    return ""


def attempts(client: Client, server: NatsServer) -> dict[str, Callable[[str], Awaitable[object]]]:
    async def subscribe(name: str) -> None:
        service = Service("listening")

        @service.subscriber(name)
        async def heard(event: str) -> None: ...

        async with service.running(settings=Settings(transport_address=(server.address,))):
            raise AssertionError(f"subscribed to {name!r}")

    async def serve(name: str) -> None:
        settings = Settings(transport_address=(server.address,))
        async with Service(name).running(settings=settings):
            raise AssertionError(f"serves as {name!r}")

    return {
        "publish": lambda name: client.publish(name, "stolen"),
        "subscribe": subscribe,
        "serve": serve,
        "call": lambda name: client.call(name, "A.B"),
        "call an endpoint": lambda name: client.call("echoing", f"Echoing.{name}"),
    }


async def test_a_name_that_would_not_survive_the_wire_never_gets_there(server, verdict) -> None:
    row = verdict(
        "Dots, wildcards, blanks, CR, LF, NUL, 300 characters as topic, service, endpoint",
        "refused typed; nothing of it on the wire but as text within a query",
    )
    service, _, _ = echoing()
    settings = Settings(transport_address=(server.address,))
    ends: dict[tuple[str, str], str] = {}
    async with (
        service.running(settings=settings),
        client_of(server.address) as client,
        watched(server) as wire,
    ):
        await client.call("echoing", "Echoing.Headers")
        (record,) = await client.registry.get_service("echoing")
        node = record.nodes[0].address
        for what, attempt in attempts(client, server).items():
            for kind, name in {**BAD, **(WILD if what != "subscribe" else {})}.items():
                ends[what, kind] = await outcome(attempt(name))
        await client.publish("last", "seen")
        await wire.has("last")
    subjects = {each.subject for each in wire.messages}
    odd = {each for each in subjects if each != node and not each.startswith("_INBOX.")}
    asked = [json.loads(each.data) for each in wire.messages if each.subject in QUERY_TOPICS]

    row.measured = f"{len(ends)} refused, as {sorted(set(ends.values()))}; beside: {sorted(odd)}"
    assert all(ends.values()), ends
    assert {ends[what, kind] for what in ("publish", "subscribe", "serve") for kind in BAD} == {
        InvalidName.__name__
    }
    assert odd <= {"last", *QUERY_TOPICS}
    assert not any(each.headers for each in wire.messages)
    assert {each["Action"] for each in asked} <= {"get", "list"}


async def test_a_subscriber_never_gets_the_events_of_another_user(server, verdict) -> None:
    row = verdict(
        "Events for users named `A.B`, `*`, `>`, `A\\r\\n`, while `user.A` is listened to",
        "the subscriber gets those of user A and nothing else",
    )
    service, kept, signal = echoing()
    others = ["B", "a", "A.B", "B.A", "*", ">", "A ", " A", "A\r\n", "A\x00", "A*", "\u0410", ""]
    others += list(BAD.values())
    refused = 0
    async with (
        service.running(settings=Settings(transport_address=(server.address,))),
        client_of(server.address) as client,
        watched(server) as wire,
    ):
        for other in others:
            refused += bool(await outcome(client.publish(f"user.{other}", "for another")))
        await client.publish("user.\u0410\u00df", "unicode is carried")
        await client.publish("user.A", "for A")
        await wire.has("user.\u0410\u00df")
        await signal.until(lambda: bool(kept), lambda: "nothing came")

    row.measured = f"{len(others)} names: {refused} refused, {len(others) - refused} went elsewhere"
    assert [each["event"] for each in kept] == ["for A"]
    assert {each.subject for each in wire.messages} <= {
        *(f"user.{other}" for other in (*others, "A", "\u0410\u00df"))
    }
    assert not {"user.*", "user.>", "stolen"} & {each.subject for each in wire.messages}


@pytest.mark.parametrize("way", ["call", "event"])
async def test_headers_come_through_exactly_or_are_refused(server, verdict, way) -> None:
    row = verdict(
        f"Headers of the application's own in a {way}: CR, LF, NUL, colons, `Nats-*`, 64 KiB",
        "each comes through as it was; none becomes one of the protocol's or the server's",
    )
    service, kept, signal = echoing()
    async with (
        service.running(settings=Settings(transport_address=(server.address,))),
        client_of(server.address) as client,
        watched(server) as wire,
    ):

        async def send(headers: dict[str, str]) -> dict[str, str]:
            if way == "call":
                return await client.call("echoing", "Echoing.Headers", headers=headers)
            kept.clear()
            await client.publish("user.A", "for A", headers=headers)
            await signal.until(lambda: bool(kept), lambda: "nothing came")
            return kept[0]

        seen = await send({**HEADERS, **RESERVED})
        each = [await send({name: value}) for name, value in HEADERS.items()]
        refused = await outcome(send({"X-Half": "\ud800"})), await outcome(send({"\udfff": "x"}))
        again = await send({})
        await client.publish("last", "seen")
        await wire.has("last")

    exact = sum(seen.get(name) == value for name, value in HEADERS.items())
    row.measured = f"{exact} of {len(HEADERS)} exact; half a character is {refused[0]}"
    assert exact == len(HEADERS)
    assert all(one[name] == HEADERS[name] for one, name in zip(each, HEADERS, strict=True))
    assert not any(seen.get(name) == value for name, value in RESERVED.items())
    assert refused == (CodecError.__name__, CodecError.__name__)
    assert again
    assert not any(message.headers for message in wire.messages)
    assert "stolen" not in {message.subject for message in wire.messages}
