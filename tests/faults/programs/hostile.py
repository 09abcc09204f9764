"""A bare NATS client that sends what no peer should: `python -m ... address seconds subject...`."""

from __future__ import annotations

import asyncio
import random
import sys
import time
import zlib

import msgpack
import nats

HEADERS = {"Micro-Endpoint": "Points.Read", "Micro-Id": "1", "Content-Type": "application/json"}


def _bundle(*parts: object) -> bytes:
    return bytes(msgpack.packb([1, *parts]))


def payloads(size: int) -> list[bytes]:
    """One of each kind of hostile payload, of about so many bytes."""
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    squeezed = bomb.compress(bytes(20 * size)) + bomb.flush()
    return [
        b"{" * size,
        b"[" * size,
        b'{"Header":' * (size // 10),
        b'{"Header":{"a":"b"},"Body":"' + b"!" * size,
        b'{"Header":null,"Body":"' + b"A" * (size // 4 * 4 + 1) + b'"}',
        b'{"Header":{' + b'"a":"b",' * (size // 8) + b'"a":"b"},"Body":""}',
        b'{"Header":{},"Body":' + b"9" * size + b"}",
        b'{"Header":{"Micro-Id":"1","Micro-Error":"' + b"\\ud800" * (size // 6) + b'"}}',
        b'{"Service":{"name":"points","nodes":[' + b"{}," * (size // 3) + b"{}]}}",
        b'{"name":"points","nodes":[' + b'{"id":"1234567"},' * (size // 17) + b"{}]}",
        b"\x91" * size,
        b"\x81\xa1a" * (size // 3),
        b"\xdd\xff\xff\xff\xff" * (size // 5),
        b"\xc6\xff\xff\xff\xff" + bytes(size),
        b"\x93\x01\x80" + b"\xc4\xff" * (size // 2),
        _bundle(*[{}, b""] * (size // 3)),
        _bundle({str(n): "" for n in range(size // 6)}, b""),
        _bundle({"Micro-Id": "1"}, b"", {"Micro-Id": "1"}),
        bytes(msgpack.packb([2, HEADERS, b"{}"])),
        _bundle(HEADERS, b"[" * size),
        _bundle(HEADERS | {"Content-Encoding": "gzip"}, squeezed[:size]),
        _bundle(HEADERS | {"Content-Encoding": "br"}, b"x" * size),
        _bundle(HEADERS | {"Content-Type": "application/x-unheard-of"}, b"x" * size),
        _bundle(HEADERS | {"Timeout": "9" * size}, b'{"number":0}'),
        _bundle(HEADERS | {"Micro-Pieces": "99999999999"}, b"x" * size),
        _bundle(HEADERS | {"Micro-Pieces": "70000", "Micro-Id": "9" * size}, b""),
        _bundle({"Micro-Id": "1", "Micro-Signal": "piece"}, b"x" * size),
        _bundle(HEADERS | {"Micro-Stream": "1", "Micro-Credit": "9" * size}, b""),
        _bundle({"Micro-Method": "x" * size, "Connection": "close"}, b""),
        _bundle({"Micro-Error": "EOS", "Micro-Method": "Points.Read", "Micro-Id": ""}, b""),
    ]


def broken(payload: bytes, dice: random.Random) -> bytes:
    """A payload cut off, with some of its bytes changed, or as it is."""
    bad = bytearray(
        payload[: dice.randrange(1, len(payload) + 1)] if dice.random() < 0.3 else payload
    )
    for _ in range(dice.choice((0, 0, 1, 8))):
        bad[dice.randrange(len(bad))] = dice.randrange(256)
    return bytes(bad)


async def main(address: str, count: int, *subjects: str) -> None:
    """Send so many payloads to the subjects in turn."""
    dice = random.Random(7)
    corpus = payloads(40) + payloads(4000) + [dice.randbytes(n) for n in range(1, 60)]
    client = await nats.connect(address)
    replies = ["", "_INBOX.x", "_INBOX.x.1", "a", ">", "a.*", "_INBOX." + "y" * 1500, subjects[0]]
    for number in range(count):
        subject = subjects[number % len(subjects)]
        payload = broken(dice.choice(corpus), dice)
        reply = dice.choice(replies)
        await client.publish(subject, payload, reply if reply not in (">", "a.*") else "")
        if not number % 100:
            await client.flush()
    await client.flush()
    await client.close()
    print(f"sent {count} payloads at {time.time():.0f}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
