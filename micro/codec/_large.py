"""Reading large bodies: within a bound on lists and objects, and without the cycle collector.

While a body of a million small lists is read, Python's collector would look at those that are
there already a thousand times, which takes ten times as long as the reading.
"""

from __future__ import annotations

import gc
import re
from typing import Any

from msgpack import unpackb

from micro.errors import CodecError

__all__ = ["LARGE_BYTES", "MAX_CONTAINERS", "begin_large_json", "begin_large_msgpack"]

LARGE_BYTES = 16_384
"""The largest body that is read as it comes."""

MAX_CONTAINERS = 1_000_000
"""Lists and objects that one body may hold. An empty one takes a byte or two on the wire and 56 or
more in memory."""

_JSON_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
# The first bytes of MessagePack's maps and arrays; in a text they are parts of characters.
_MSGPACK_CONTAINERS = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])


def begin_large_json(body: bytes) -> bool:
    """Check a large body and stop the collector.

    Returns:
        Whether it was stopped, so that the caller must start it again.

    Raises:
        CodecError: the body holds too many lists and objects.
    """
    many = _json_containers(body) > MAX_CONTAINERS
    # Braces and brackets in texts do not count; looking for texts takes as long as reading.
    if many and _json_containers(_JSON_TEXT.sub(b"", body)) > MAX_CONTAINERS:
        raise _too_many()
    return _stop_collector()


def begin_large_msgpack(body: bytes) -> bool:
    """The same for MessagePack."""
    stopped = _stop_collector()
    try:
        if len(body) - len(body.translate(None, _MSGPACK_CONTAINERS)) > MAX_CONTAINERS:
            _count_msgpack(body)
    except BaseException:
        if stopped:
            gc.enable()
        raise
    return stopped


def _json_containers(body: bytes) -> int:
    return body.count(b"[") + body.count(b"{")


def _count_msgpack(body: bytes) -> None:
    count = 0

    def note(_items: Any) -> None:
        nonlocal count
        count += 1
        if count > MAX_CONTAINERS:
            raise _too_many()

    try:
        unpackb(body, strict_map_key=False, list_hook=note, object_pairs_hook=note)
    except CodecError:
        raise
    except Exception:
        # Unreadable: the reading that follows says why.
        return


def _stop_collector() -> bool:
    if not gc.isenabled():
        return False
    gc.disable()
    return True


def _too_many() -> CodecError:
    return CodecError(
        f"it holds more than {MAX_CONTAINERS} lists and objects; send them as a stream"
    )
