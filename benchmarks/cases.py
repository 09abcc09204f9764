"""What is measured, and what is wanted of it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CASES", "PEERS", "QUICK_CASES", "QUICK_PEERS", "TARGETS", "Case", "Target"]

OURS = "micro"
BARE = "nats-py"
PYTHON = (OURS, BARE, "nats.micro", "FastStream", "grpc.aio")
PEERS = (*PYTHON, "go-micro", "Moleculer")
QUICK_PEERS = (OURS, BARE)
_STREAMS = (OURS, "grpc.aio")
_EVENTS = (OURS, BARE, "FastStream")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the table.

    Attributes:
        name: What `--case` takes; a prefix up to a dash takes all of a kind.
        title: What the table says.
        unit: What is counted, a second.
        kind: The `--case` of a peer's client.
        peers: Who can do it.
        concurrency: Calls at a time of one client; subscribers, for events.
        size: Characters of a payload.
        count: Items of a burst; 0 where the load lasts a time.
        clients: Client processes at once.
        servers: Server processes at once.
    """

    name: str
    title: str
    unit: str = "calls"
    kind: str = "unary"
    peers: tuple[str, ...] = PEERS
    concurrency: int = 64
    size: int = 100
    count: int = 0
    clients: int = 1
    servers: int = 1

    def arguments(self, seconds: float) -> list[str]:
        """What a peer's client is told."""
        told = ["--case", self.kind, "--concurrency", str(self.concurrency)]
        if self.count:
            return [*told, "--count", str(self.count)]
        return [*told, "--seconds", str(seconds), "--size", str(self.size)]


def _unary(concurrency: int) -> Case:
    return Case(
        name=f"unary-{concurrency}",
        title=f"unary, concurrency {concurrency:,}",
        concurrency=concurrency,
    )


def _payload(name: str, size: int, concurrency: int) -> Case:
    return Case(
        name=f"payload-{size}",
        title=f"echo of {name}, concurrency {concurrency}",
        kind="payload",
        size=size,
        concurrency=concurrency,
    )


def _stream(kind: str, title: str) -> Case:
    return Case(
        name=f"stream-{kind}",
        title=title,
        unit="items",
        kind=kind,
        peers=_STREAMS,
        count=40_000,
    )


CASES = (
    *(_unary(concurrency) for concurrency in (1, 16, 64, 256, 1024)),
    _payload("100 B", 100, 64),
    _payload("4 KiB", 4096, 64),
    _payload("64 KiB", 65_536, 16),
    _stream("server_stream", "server stream"),
    _stream("client_stream", "client stream"),
    _stream("bidirectional", "bidirectional stream"),
    Case(
        name="events-1",
        title="events, one to one",
        unit="events",
        kind="events",
        peers=_EVENTS,
        concurrency=1,
        count=20_000,
    ),
    Case(
        name="events-4",
        title="events, one to four",
        unit="deliveries",
        kind="events",
        peers=_EVENTS,
        concurrency=4,
        count=5_000,
    ),
    Case(
        name="fan-in",
        title="fan-in: eight client processes, each at concurrency 16",
        concurrency=16,
        clients=8,
        peers=(OURS, BARE, "grpc.aio", "go-micro"),
    ),
    Case(
        name="workers-2",
        title="two server processes, concurrency 256",
        concurrency=256,
        servers=2,
        peers=(OURS, BARE),
    ),
)
QUICK_CASES = ("unary-1", "unary-64", "unary-256", "payload-4096", "events-1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is wanted of one case.

    Attributes:
        title: The case, in words.
        against: Who it is compared with, in words.
        wanted: The bound, in words.
        bound: The bound.
        case: A case's name, with `peer`; or the name of a probe's figure.
        peer: The other side of the ratio of rates, or of latencies.
        field: `rate`, where more is better, or `p50`, where less is.
        least: Whether the bound is the least that will do, or the most.
    """

    title: str
    against: str
    wanted: str
    bound: float
    case: str
    peer: str | None = None
    field: str = "rate"
    least: bool = True


def _ratio(case: str, title: str, peer: str, bound: float) -> Target:
    return Target(
        title=title, against=peer, wanted=f"at least {bound:g} x", bound=bound, case=case, peer=peer
    )


TARGETS = (
    _ratio("unary-64", "unary, concurrency 64", BARE, 1.2),
    _ratio("unary-256", "unary, concurrency 256", BARE, 1.0),
    _ratio("unary-1024", "unary, concurrency 1,024", BARE, 1.0),
    Target(
        title="unary, concurrency 1, p50",
        against=BARE,
        wanted="at most 1.25 x",
        bound=1.25,
        case="unary-1",
        peer=BARE,
        field="p50",
        least=False,
    ),
    _ratio("unary-256", "unary, concurrency 256", "FastStream", 4),
    _ratio("unary-256", "unary, concurrency 256", "grpc.aio", 6),
    _ratio("unary-64", "unary, concurrency 64", "go-micro", 3),
    _ratio("unary-256", "unary, concurrency 256", "go-micro", 3),
    _ratio("events-1", "publish to subscribe, typed, one to one", "FastStream", 4),
    Target(
        title="server stream, small items",
        against="items a second",
        wanted="at least 100,000",
        bound=100_000,
        case="stream-server_stream",
    ),
    _ratio("stream-server_stream", "or: server stream, small items", "grpc.aio", 3),
    Target(
        title="one open idle socket, the client's side",
        against="memory",
        wanted="under 2,048 B",
        bound=2048,
        case="socket_client_bytes",
        least=False,
    ),
    Target(
        title="one open idle socket, the server's side",
        against="memory",
        wanted="under 2,048 B",
        bound=2048,
        case="socket_server_bytes",
        least=False,
    ),
    Target(
        title="import of `micro`",
        against="wall time",
        wanted="under 250 ms",
        bound=250,
        case="import_ms",
        least=False,
    ),
    Target(
        title="plugins' packages that the import brings",
        against="modules",
        wanted="none",
        bound=0,
        case="import_plugins",
        least=False,
    ),
)
