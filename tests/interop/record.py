"""Records what live go-micro peers send, as test vectors.

    python -m tests.interop.record

Writes `tests/interop/vectors/<generation>.txt`: a line for each NATS message, its kind (`frame`,
`query`, `watch`, `answer`) and its payload.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from micro.backend import BackendOptions
from micro_nats.connection.connection import open_connection
from micro_nats.devserver import run_server
from tests.interop.gopeer import GoPeer, end, next_line
from tests.interop.peers import GoPrograms

VECTORS = Path(__file__).parent / "vectors"
CALLS = (
    ("call", "--endpoint", "Greeter.Hello", "--json", '{"name":"<Jöhn & co>"}'),
    ("call", "--endpoint", "Greeter.Fail", "--json", '{"name":"John"}'),
    ("call", "--endpoint", "Greeter.Plain", "--json", '{"name":"John"}'),
    ("call", "--endpoint", "Greeter.Hello", "--content-type", "application/json-rpc"),
    ("call", "--endpoint", "Proto.Hello", "--content-type", "application/protobuf"),
    ("call", "--endpoint", "Proto.Hello", "--content-type", "application/proto-rpc"),
    ("stream", "--endpoint", "Greeter.CountSlow", "--json", '{"name":"x","count":2}'),
    ("stream", "--endpoint", "Greeter.Chat", "--mode", "bidi", "--send", "2"),
    ("publish", "--json", '{"name":"event"}'),
    ("list",),
)


async def record(generation: str, binary: Path) -> list[str]:
    """What one generation's server and client send to each other."""
    lines: list[str] = []

    def note(subject: str, reply: str, data: bytes, headers: dict[str, str] | None) -> None:
        del reply, headers
        if data:
            lines.append(f"{kind(subject, data)} {data.decode()}")

    async with (
        run_server() as server,
        open_connection(BackendOptions(addresses=(server.address,), name="record")) as connection,
    ):
        await connection.subscribe(">", note)
        peer = GoPeer(generation, binary, server.address)
        process = await peer.start("serve", "--id", "id1")
        await next_line(process)
        for arguments in CALLS:
            await peer.run(*arguments)
        await end(process)
        await connection.flush()
    return list(dict.fromkeys(lines))


def kind(subject: str, data: bytes) -> str:
    last = subject.rpartition(".")[2]
    if last in ("query", "watch"):
        return last
    return "frame" if data.startswith(b'{"Header"') else "answer"


async def main() -> None:
    VECTORS.mkdir(exist_ok=True)
    programs = GoPrograms()
    programs.build(print)
    for generation in programs.generations():
        lines = await record(generation, programs.path(generation))
        (VECTORS / f"{generation}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
