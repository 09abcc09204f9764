"""The RPC protocol: go-micro's headers, and how two Python peers say the same in fewer words.

Pure functions from messages to calls and back; no I/O. go-micro's own dialect is described in
`docs/wire.md`. A *native* frame is one between two peers of this framework: it has no
`Micro-Method` header (every go-micro client sends one), and its replies carry the id and the
content type only.

Over 300 lines, because it is one list: every header, with the function that reads or writes it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from micro.deadline import Deadline, new_deadline
from micro.errors import Cancelled, DeadlineExceeded, MicroError
from micro.wire.errors import error_from_wire, error_to_wire

__all__ = [
    "ACCEPT",
    "CHUNKED",
    "CONTENT_TYPE",
    "CREDIT",
    "CREDIT_BYTES",
    "EMPTY_OBJECT",
    "ENDPOINT",
    "EOS",
    "ERROR",
    "ID",
    "METHOD",
    "NATIVE",
    "PING_TOPIC",
    "PROBE_ENDPOINT",
    "READS_NULL",
    "REFUSED",
    "RETRY_AFTER",
    "SERVICE",
    "SIGNAL",
    "STREAM",
    "TIMEOUT",
    "TOPIC",
    "application_headers",
    "canonical",
    "credit_bytes_from",
    "credit_from",
    "credit_headers",
    "deadline_from",
    "error_from",
    "error_headers",
    "event_headers",
    "is_native",
    "own_event_headers",
    "ping_headers",
    "reply_headers",
    "request_headers",
    "set_id",
    "stream_reply_headers",
    "timeout_of",
]

SERVICE = "Micro-Service"
METHOD = "Micro-Method"
ENDPOINT = "Micro-Endpoint"
ID = "Micro-Id"
STREAM = "Micro-Stream"
ERROR = "Micro-Error"
TOPIC = "Micro-Topic"
TIMEOUT = "Timeout"
CONTENT_TYPE = "Content-Type"
ACCEPT = "Accept"

SIGNAL = "Micro-Signal"
"""Native: `cancel`, `end` (no more items from this side), `credit`, `piece`, `more`, or `ping`."""
CREDIT = "Micro-Credit"
"""Native: how many items more the sender of this header can take."""
CREDIT_BYTES = "Micro-Credit-Bytes"
"""Native: how many bytes more the sender of this header can take; next to `Micro-Credit`."""
CHUNKED = "Micro-Pieces"
"""Native: the bytes of a whole body of which this frame has the first piece."""
REFUSED = "Micro-Refused"
"""Native, on an error: present when the request surely did not run."""
RETRY_AFTER = "Micro-Retry-After"
"""Native, on an error: seconds until another try is sensible."""

EOS = "EOS"
"""The `Micro-Error` text that ends a stream in good order."""
PING_TOPIC = "micro.ping"
"""The topic of a keep-alive frame to a go-micro server, which echoes it."""

PROBE_ENDPOINT = "Micro.Probe"
"""An endpoint that no service has: the error that answers a request for it shows a live node."""

NATIVE = "native"
"""The node metadata key whose value is the version of the native dialect a node understands."""

READS_NULL = "nulls"
"""The node metadata key of a node that reads the JSON `null` as `None`."""
EMPTY_OBJECT = b"{}\n"
"""JSON for no request or answer towards go-micro, which cannot read `null` as every type."""

_GO_ID = "Micro-ID"
_NANOSECONDS = 1_000_000_000
_LONGEST = 10 * 365 * 24 * 3600 * _NANOSECONDS
# Each protocol header by its lower-case name; the server of every go-micro generation also writes,
# and reads, most of them with an `X-` before (go-micro `server/rpc_codec.go`).
_KNOWN = {
    name.lower(): name
    for name in (SERVICE, METHOD, ENDPOINT, ID, STREAM, ERROR, TOPIC, TIMEOUT, CONTENT_TYPE, ACCEPT)
}
_NATIVE_ONLY = (
    SIGNAL,
    CREDIT,
    CREDIT_BYTES,
    CHUNKED,
    REFUSED,
    RETRY_AFTER,
    "Accept-Encoding",
    "Content-Encoding",
)
_GO_ERRORS: dict[str, type[MicroError]] = {
    "context deadline exceeded": DeadlineExceeded,
    "context canceled": Cancelled,
}
_RESERVED = {*_KNOWN, *(name.lower() for name in _NATIVE_ONLY)}


def is_native(metadata: Mapping[str, str]) -> bool:
    """Whether a node with this metadata understands the native dialect."""
    return metadata.get(NATIVE) == "1"


def canonical(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with the protocol's own names spelt one way; a name wins over its X- twin."""
    found: dict[str, str] = {}
    twins: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        known = _KNOWN.get(lower)
        if known is not None:
            found[known] = value
        elif lower.startswith("x-") and (known := _KNOWN.get(lower[2:])) is not None:
            twins[known] = value
        else:
            found[name] = value
    return {**twins, **found} if twins else found


def application_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers without the protocol's own, so that a handler can hand on what it was given."""
    return {
        name: value
        for name, value in headers.items()
        if name.lower().removeprefix("x-") not in _RESERVED
    }


def request_headers(
    service: str, endpoint: str, content_type: str, *, native: bool
) -> dict[str, str]:
    """The headers that every request to one endpoint shares; id and timeout are added to a copy."""
    if native:
        return {ENDPOINT: endpoint, CONTENT_TYPE: content_type}
    return {
        ACCEPT: content_type,
        CONTENT_TYPE: content_type,
        ENDPOINT: endpoint,
        METHOD: endpoint,
        SERVICE: service,
    }


def set_id(headers: dict[str, str], id: str, *, native: bool) -> None:
    """Put a call's id on a request, in both spellings for go-micro: v2 reads one, v4 the other."""
    headers[ID] = id
    if not native:
        headers[_GO_ID] = id


def timeout_of(deadline: Deadline) -> str:
    """What remains of a deadline as `Timeout` has it: decimal nanoseconds, at least 1."""
    nanoseconds = (deadline.at - time.monotonic()) * _NANOSECONDS
    return str(int(nanoseconds)) if nanoseconds >= 1 else "1"


def deadline_from(headers: Mapping[str, str], now: float) -> Deadline | None:
    """The deadline that a request's `Timeout` header asks for, counted from `now`.

    A header that is absent, not a number or negative gives none: the peer set no limit that
    can be understood, and the server's own still holds.
    """
    text = headers.get(TIMEOUT)
    if text is None:
        return None
    try:
        nanoseconds = int(text)
    except ValueError:
        return None
    if nanoseconds <= 0:
        return None
    if nanoseconds > _LONGEST:
        nanoseconds = _LONGEST
    return new_deadline((now + nanoseconds / _NANOSECONDS,))


def credit_from(headers: Mapping[str, str]) -> int:
    """How many items a `Micro-Credit` header grants; 0 for one that makes no sense."""
    return _count_from(headers.get(CREDIT, ""))


def credit_bytes_from(headers: Mapping[str, str]) -> int | None:
    """How many bytes a frame grants; `None` from a peer that counts items alone."""
    text = headers.get(CREDIT_BYTES)
    return None if text is None else _count_from(text)


def credit_headers(items: int, size: int | None) -> dict[str, str]:
    """The headers that grant credit in items, and in bytes to a peer that counts them."""
    if size is None:
        return {CREDIT: str(items)}
    return {CREDIT: str(items), CREDIT_BYTES: str(size)}


def _count_from(text: str) -> int:
    return int(text[:9]) if text.isascii() and text.isdigit() else 0


def reply_headers(request: Mapping[str, str], content_type: str) -> dict[str, str]:
    """The headers of a successful reply, in the dialect of the request."""
    id = request.get(ID, "")
    if METHOD not in request:
        return {ID: id, CONTENT_TYPE: content_type}
    return {CONTENT_TYPE: content_type, ID: id, _GO_ID: id, "X-Micro-ID": id}


def stream_reply_headers(request: Mapping[str, str], content_type: str) -> dict[str, str]:
    """The headers of one item of a stream on its way to the client."""
    headers = reply_headers(request, content_type)
    if METHOD in request:
        for name in (SERVICE, METHOD, ENDPOINT):
            value = request.get(name, "")
            headers[name] = value
            headers[f"X-{name}"] = value
    return headers


def error_headers(request: Mapping[str, str], error: MicroError | str) -> dict[str, str]:
    """The headers of a failed reply, or of a stream's end when `error` is `EOS`.

    A go-micro client finds its own headers echoed (go-micro `server/rpc_codec.go`).
    """
    text = error if isinstance(error, str) else error_to_wire(error)
    if METHOD in request:
        return {**request, _GO_ID: request.get(ID, ""), ERROR: text, f"X-{ERROR}": text}
    headers = {ID: request.get(ID, ""), ERROR: text}
    if isinstance(error, MicroError):
        if error.refused:
            headers[REFUSED] = "1"
        if error.retry_after is not None:
            headers[RETRY_AFTER] = f"{error.retry_after:g}"
    return headers


def error_from(headers: Mapping[str, str]) -> MicroError | None:
    """The error that a reply carries, or `None` for a success."""
    text = headers.get(ERROR)
    if not text:
        return None
    error = _with_gos_meaning(error_from_wire(text))
    error.refused = REFUSED in headers
    if (seconds := headers.get(RETRY_AFTER)) is not None:
        error.retry_after = _seconds(seconds)
    return error


def _with_gos_meaning(error: MicroError) -> MicroError:
    """The error of Go's own words: a Go handler returns them as an error 500."""
    if error.code == 500:
        for words, cls in _GO_ERRORS.items():
            if error.detail.endswith(words):
                return cls(error.detail, id=error.id)
    return error


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None


def ping_headers(id: str, *, native: bool) -> dict[str, str]:
    """A frame that keeps a socket with an open, quiet stream alive.

    go-micro's servers close a socket after 60 s without a frame (go-micro
    `transport/nats/nats.go`); a frame with a topic counts, and comes back.
    """
    if native:
        return {ID: id, SIGNAL: "ping"}
    return {TOPIC: PING_TOPIC, CONTENT_TYPE: "application/json"}


def own_event_headers(headers: Mapping[str, str]) -> dict[str, str] | None:
    """The canonical headers of an event that has just those of `event_headers`; else `None`.

    Most events have. Comparing every name with those of the protocol costs ten times as much.
    """
    if len(headers) != 3:
        return None
    content_type, id, topic = headers.get(CONTENT_TYPE), headers.get(_GO_ID), headers.get(TOPIC)
    if content_type is None or id is None or topic is None:
        return None
    return {CONTENT_TYPE: content_type, ID: id, TOPIC: topic}


def event_headers(topic: str, id: str, content_type: str) -> dict[str, str]:
    """The headers of a published event."""
    return {CONTENT_TYPE: content_type, _GO_ID: id, TOPIC: topic}
