"""Options of a client, and of one call or stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Generic, TypedDict, TypeVar

from micro.client.attempts import CallPolicy
from micro.client.selector import Strategy, Where, least_in_flight
from micro.errors import MicroError, UsageError
from micro.events.kept_topics import KeptPolicy
from micro.handlers.raises import check_raises
from micro.middleware import Layer
from micro.telemetry.metrics import Metrics
from micro.wire.compression import Compression

__all__ = [
    "DEFAULT",
    "CallOptions",
    "ClientOptions",
    "Fallback",
    "StreamOptions",
    "UseDefault",
    "check_options",
    "check_timeout",
    "policy_from",
]

R = TypeVar("R")
Fallback = Callable[[MicroError], R]
"""Gives a value in place of a call's error, or raises."""


class UseDefault(Enum):
    """The type of `DEFAULT`."""

    DEFAULT = "the client's default"


DEFAULT: Final = UseDefault.DEFAULT
"""The timeout that stands for the client's own default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """How a client behaves where a call does not say otherwise.

    Attributes:
        timeout: Seconds until a call must be answered, retries included.
        retries: How often a call may be repeated where that is safe.
        content_type: How requests and events are written.
        strategy: Picks the node for each call.
        middleware: Layers around every call and stream, the first outermost.
        publish_middleware: Layers around every event that is published.
        compression: How requests are compressed, and answers asked for; `None` for not at all.
        name: The name of the service that owns the client; empty for none.
        metrics: Where the client counts; its own when not given.
        kept: What the settings say of kept topics.
    """

    timeout: float = 5.0
    retries: int = 2
    content_type: str = "application/json"
    strategy: Strategy[Any] = least_in_flight
    middleware: Sequence[Layer] = ()
    publish_middleware: Sequence[Layer] = ()
    compression: Compression | None = None
    name: str = ""
    metrics: Metrics = field(default_factory=Metrics, compare=False)
    kept: KeptPolicy = field(default_factory=KeptPolicy)


class StreamOptions(TypedDict, total=False):
    """Options of one stream.

    Attributes:
        timeout: Seconds for the whole stream. There is no limit when not given: a peer that dies
            is noticed all the same, within half a minute.
        headers: Headers of the application's own.
        where: Which nodes may answer.
        content_type: How to write requests.
        raises: Errors of the application's own that it may raise, as classes: they arrive with
            their fields. Others arrive as the class of their code, with `details`.
    """

    timeout: float | UseDefault | None
    headers: Mapping[str, str] | None
    where: Where | None
    content_type: str | None
    raises: Sequence[type[MicroError]]


class CallOptions(StreamOptions, Generic[R], total=False):
    """Options of one call.

    Attributes:
        timeout: Seconds until the answer must be here, retries included; the client's default when
            not given, no limit of its own when `None`.
        headers: Headers of the application's own.
        where: Which nodes may answer.
        content_type: How to write the request.
        idempotent: Whether running it twice does no harm; what the registry says of the endpoint
            at the node that was tried when not given.
        retries: How often it may be repeated where that is safe.
        raises: Errors of the application's own that it may raise; see `StreamOptions`.
        fallback: Gives a value in place of the error, should the call fail.
        reply_headers: A dict that is given the headers of the answer, those of the application and
            not the protocol's own; an error leaves it as it was.
    """

    idempotent: bool | None
    retries: int | None
    fallback: Fallback[R] | None
    reply_headers: dict[str, str] | None


_CALL_OPTIONS = CallOptions.__annotations__.keys() | StreamOptions.__annotations__.keys()
_STREAM_OPTIONS = StreamOptions.__annotations__.keys()


def check_options(options: Mapping[str, object], *, stream: bool) -> None:
    """Refuse options that do not exist.

    Raises:
        TypeError: there is one, as for any unknown keyword argument; or `reply_headers` is no dict.
    """
    known = _STREAM_OPTIONS if stream else _CALL_OPTIONS
    for name in options:
        if name not in known:
            kind = "stream" if stream else "call"
            raise TypeError(f"{kind}() got an unexpected keyword argument {name!r}")
    wanted = options.get("reply_headers")
    if wanted is not None and not isinstance(wanted, dict):
        raise TypeError(f"reply_headers must be a dict to fill, got {wanted!r}")


def policy_from(default: CallPolicy, options: CallOptions[Any]) -> CallPolicy:
    """How a call with these options may be made."""
    where, idempotent = options.get("where"), options.get("idempotent")
    retries, raises = options.get("retries"), options.get("raises")
    if where is None and idempotent is None and retries is None and not raises:
        return default
    if retries is None:
        retries = default.retries
    return CallPolicy(retries, where, idempotent, check_raises(raises or ()))


def check_timeout(timeout: float) -> float:
    """Refuse a timeout that is not a number.

    Raises:
        UsageError: it is not.
    """
    if math.isnan(timeout):
        raise UsageError("timeout must be a number of seconds or None, got nan")
    return timeout
