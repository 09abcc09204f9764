"""One tree of errors, the same on both sides of the wire.

    MicroError
    ├── BadRequest 400: CodecError, InvalidName
    ├── Unauthorized 401, Forbidden 403, NotFound 404, MethodNotAllowed 405
    ├── DeadlineExceeded 408 (also a TimeoutError)
    ├── Conflict 409, PayloadTooLarge 413, ResourceExhausted 429, Cancelled 499
    ├── InternalError 500, Unimplemented 501
    ├── Unavailable 503
    │   ├── ServiceUnavailable
    │   └── TransportError: ConnectionLost, SocketClosed, NoResponders
    └── UsageError (never sent): ConfigError, HandlerError, InvalidName, PluginError

Codes are go-micro's: HTTP numbers (go-micro `errors/errors.go`). The code picks the class wherever
an error is rebuilt, so `except NotFound` means the same at both ends. An application derives
classes of its own from these; their fields travel as `details` (`docs/wire.md`, section 5).

Over 300 lines, because the whole tree is in one place; each class is short.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from importlib import import_module
from types import FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

__all__ = [
    "BadRequest",
    "Cancelled",
    "CodecError",
    "ConfigError",
    "Conflict",
    "ConnectionLost",
    "DeadlineExceeded",
    "DeliveryLost",
    "Forbidden",
    "HandlerError",
    "InternalError",
    "InvalidName",
    "MethodNotAllowed",
    "MicroError",
    "NoResponders",
    "NoSubscribers",
    "NotFound",
    "PayloadTooLarge",
    "PluginError",
    "QueueFull",
    "ResourceExhausted",
    "ServiceUnavailable",
    "SocketClosed",
    "TransportError",
    "Unauthorized",
    "Unavailable",
    "Unimplemented",
    "Unsupported",
    "UsageError",
]


_NOTHING: Mapping[str, object] = MappingProxyType({})
_RESERVED = frozenset(
    {"bundle", "code", "detail", "details", "id", "kinds", "refused", "retry_after", "self"}
)


def _declared(cls: type) -> Iterator[str]:
    """The fields that a class adds: annotated names, and parameters of its own `__init__`."""
    annotated = inspect.get_annotations(cls)
    names = [name for name, type_ in annotated.items() if "ClassVar" not in str(type_)]
    made = vars(cls).get("__init__")
    if isinstance(made, FunctionType):
        names += inspect.signature(made).parameters
    return (name for name in names if name not in _RESERVED and not name.startswith("_"))


class MicroError(Exception):
    """The root: a code, a detail for people, and the id of the service that raised it.

    A subclass may declare fields, which travel to the caller with the error. Its fields are the
    names annotated in its body and the parameters of its own `__init__`, each with the value of the
    attribute of that name; names that begin with an underscore stay here.

        class OutOfStock(Conflict):
            def __init__(self, sku: str, left: int) -> None:
                super().__init__(f"only {left} of {sku} left")
                self.sku = sku
                self.left = left

    Args:
        detail: What went wrong, in a sentence without secrets; it crosses the wire.
        code: An HTTP-like number; the class's own when not given.
        id: The sender: a service's name, or `micro.client` and the like for the framework.
        retry_after: Seconds to wait before another try is sensible; `None` when unknown.
        refused: True when the request surely did not run, so that trying elsewhere is safe.
        details: More about it, as values that JSON can hold; it crosses the wire.
    """

    # Defaults on the class, so that a dataclass need not call `__init__`.
    code: int = 500
    detail: str = ""
    id: str = ""
    retry_after: float | None = None
    refused: bool = False
    _details: Mapping[str, object] = _NOTHING
    _kinds: tuple[str, ...] = ()
    _fields: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        detail: str = "",
        *,
        code: int | None = None,
        id: str = "",
        retry_after: float | None = None,
        refused: bool = False,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.id = id
        self.retry_after = retry_after
        self.refused = refused
        if code is not None:
            self.code = code
        if details:
            self._details = dict(details)
            vars(self).update((name, details[name]) for name in self._fields if name in details)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._fields = tuple(dict.fromkeys((*cls._fields, *_declared(cls))))

    def __reduce__(self) -> Any:
        # Copied and pickled by its state: subclasses have constructors of their own.
        return _restore, (type(self), self.args, vars(self))

    @property
    def details(self) -> dict[str, object]:
        """What was given as `details`, and the values of the class's own fields."""
        values = {name: getattr(self, name, _NOTHING) for name in self._fields}
        own = {name: value for name, value in values.items() if value is not _NOTHING}
        return {**self._details, **own}

    def with_details(self, **details: object) -> Self:
        """Add to the details; returns the error itself."""
        self._details = {**self._details, **details}
        return self

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the application's own classes: the object's, or those that its sender named."""
        own = (cls.__name__ for cls in type(self).__mro__ if _is_applications(cls))
        return self._kinds or tuple(own)

    @property
    def status(self) -> str:
        """The reason phrase of the code, as go-micro writes it; empty for a code without one."""
        try:
            return HTTPStatus(self.code).phrase
        except ValueError:
            return ""

    def __str__(self) -> str:
        return f"{self.code} {self.detail}" if self.detail else f"{self.code} {self.status}"


class BadRequest(MicroError):
    """400: the request does not fit the endpoint's type, or makes no sense."""

    code = 400


class CodecError(BadRequest):
    """400: bytes that the codec cannot read as the type, or a value that it cannot write."""


class Unauthorized(MicroError):
    """401: the caller gave no identity, or could not prove it."""

    code = 401


class Forbidden(MicroError):
    """403: the caller is known and may not do this."""

    code = 403


class NotFound(MicroError):
    """404: no such endpoint, or no such thing of the application's."""

    code = 404


class MethodNotAllowed(MicroError):
    """405: the endpoint exists, but not for this kind of call."""

    code = 405


class DeadlineExceeded(MicroError, TimeoutError):
    """408: the time ran out; the request may have run."""

    code = 408


class Conflict(MicroError):
    """409: the request contradicts the present state."""

    code = 409


class DeliveryLost(Conflict):
    """409: a delivery cannot be settled: the broker has given it to another consumption."""


class PayloadTooLarge(MicroError):
    """413: a message over the transport's limit; nothing of it was sent."""

    code = 413


class ResourceExhausted(MicroError):
    """429: a limit of concurrency, queue or rate was reached."""

    code = 429


class QueueFull(ResourceExhausted):
    """429: a kept topic has reached its limit; the event was not stored."""


class Cancelled(MicroError):
    """499: the caller went away."""

    code = 499


class InternalError(MicroError):
    """500: the handler failed unexpectedly; the reason is in its log only."""

    code = 500


class Unimplemented(MicroError):
    """501: the peer does not know how to do this."""

    code = 501


class Unsupported(Unimplemented):
    """501: the broker or its server cannot do what was asked for; the text says what lacks."""


class Unavailable(MicroError):
    """503: no node could be reached; `refused` tells whether the request may have run."""

    code = 503


class ServiceUnavailable(Unavailable):
    """503: no node serves the name now; nothing was sent."""


class TransportError(Unavailable):
    """503: a socket or the connection below it failed.

    Attributes:
        bundle: The first bundle number that the peer did not accept, nor any later one (see
            `micro.transport.Socket.send`); `None` when the transport cannot tell.
    """

    bundle: int | None = None


class ConnectionLost(TransportError):
    """503: a connection broke; what was in flight may or may not have arrived."""


class SocketClosed(TransportError):
    """503: the socket was closed, by this side or by the peer."""


class NoResponders(TransportError):
    """503: nothing listens at the address.

    Args:
        bundle: See `TransportError`.
    """

    def __init__(self, detail: str = "", *, bundle: int | None = None) -> None:
        super().__init__(detail, refused=True)
        self.bundle = bundle


class NoSubscribers(Unavailable):
    """503: no one is subscribed to the topic, so the event reached no one."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, refused=True)


class UsageError(MicroError):
    """A mistake in the program or its settings, found at decoration or start; never sent."""


class ConfigError(UsageError):
    """A setting, flag, variable or file has a value that cannot be used."""


class PluginError(UsageError):
    """A plugin is not installed, or does not offer the part asked of it."""


class HandlerError(UsageError):
    """A handler or its options cannot be served; the text names its function and file."""


class InvalidName(UsageError, BadRequest):
    """A service, endpoint, topic or queue name that cannot be used on the wire."""

    code = 400


def _restore(cls: type[MicroError], args: tuple[Any, ...], state: dict[str, Any]) -> MicroError:
    error = cls.__new__(cls, *args)
    vars(error).update(state)
    return error


def _is_applications(cls: type) -> bool:
    return issubclass(cls, MicroError) and cls.__module__ != __name__


if not TYPE_CHECKING:  # for a type checker, every name would exist

    def __getattr__(name: str) -> object:
        # Gateways import these two from here; they are defined in `micro.wire.errors` now.
        if name in ("error_from_wire", "error_to_wire"):
            return getattr(import_module("micro.wire.errors"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
