"""One tree of errors, the same on both sides of the wire.

Codes are go-micro's: HTTP numbers (go-micro `errors/errors.go`). The code picks the class wherever
an error is rebuilt, so `except NotFound` means the same whether it was raised here or far away.
"""

from __future__ import annotations

import json
from http import HTTPStatus

__all__ = [
    "BadRequest",
    "Cancelled",
    "CodecError",
    "ConfigError",
    "Conflict",
    "ConnectionLost",
    "DeadlineExceeded",
    "Forbidden",
    "HandlerError",
    "InternalError",
    "InvalidName",
    "MethodNotAllowed",
    "MicroError",
    "NoResponders",
    "NotFound",
    "NotImplementedHere",
    "PayloadTooLarge",
    "PluginError",
    "ResourceExhausted",
    "SocketClosed",
    "TransportError",
    "Unauthorized",
    "Unavailable",
    "UsageError",
    "error_from_wire",
    "error_to_wire",
]


class MicroError(Exception):
    """The root: a code, a detail for people, and the id of whoever raised it.

    Args:
        detail: What went wrong, in a sentence without secrets; it crosses the wire.
        code: An HTTP-like number; the class's own when not given.
        id: Who says so: a service's name, or `micro.client` and the like for the framework.
        retry_after: Seconds to wait before another try is sensible; `None` when unknown.
        refused: True when the request surely did not run, so that trying elsewhere is safe.
    """

    code: int = 500

    def __init__(
        self,
        detail: str = "",
        *,
        code: int | None = None,
        id: str = "",
        retry_after: float | None = None,
        refused: bool = False,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.id = id
        self.retry_after = retry_after
        self.refused = refused
        if code is not None:
            self.code = code

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
    """401: the caller did not say who it is, or could not prove it."""

    code = 401


class Forbidden(MicroError):
    """403: the caller is known and may not do this."""

    code = 403


class NotFound(MicroError):
    """404: no such service, endpoint or thing."""

    code = 404


class MethodNotAllowed(MicroError):
    """405: the endpoint is there, but not for this kind of call."""

    code = 405


class DeadlineExceeded(MicroError):
    """408: the time ran out; the request may have run."""

    code = 408


class Conflict(MicroError):
    """409: the request contradicts the present state."""

    code = 409


class PayloadTooLarge(MicroError):
    """413: a message over the transport's limit; nothing of it was sent."""

    code = 413


class ResourceExhausted(MicroError):
    """429: a limit of concurrency, queue or rate was reached."""

    code = 429


class Cancelled(MicroError):
    """499: the caller went away."""

    code = 499


class InternalError(MicroError):
    """500: the handler failed in a way it did not foresee; the reason stays in its log."""

    code = 500


class NotImplementedHere(MicroError):
    """501: the peer does not know how to do this."""

    code = 501


class Unavailable(MicroError):
    """503: nobody could be reached. See `refused` for whether the request may have run."""

    code = 503


class TransportError(Unavailable):
    """503: a socket or the connection below it failed.

    Attributes:
        bundle: The number of the first bundle that surely was not taken, and no later one either
            (see `micro.transport.Socket.send`); `None` when the transport cannot tell.
    """

    bundle: int | None = None


class ConnectionLost(TransportError):
    """503: a connection broke; what was in flight may or may not have arrived."""


class SocketClosed(TransportError):
    """503: the socket was closed, by this side or by the peer."""


class NoResponders(TransportError):
    """503: nobody listens at the address.

    Args:
        bundle: See `TransportError`.
    """

    def __init__(self, detail: str = "", *, bundle: int | None = None) -> None:
        super().__init__(detail, refused=True)
        self.bundle = bundle


class UsageError(MicroError):
    """The program is wrong, not the world: found at decoration or start, never sent."""


class ConfigError(UsageError):
    """A setting, flag, variable or file has a value that cannot be used."""


class PluginError(UsageError):
    """A plugin is not installed, or does not offer the part asked of it."""


class HandlerError(UsageError):
    """A handler's signature cannot be served; the text names its function and file."""


class InvalidName(UsageError, BadRequest):
    """A service, endpoint, topic or queue name that would not survive the wire."""

    code = 400


_BY_CODE: dict[int, type[MicroError]] = {
    cls.code: cls
    for cls in (
        BadRequest,
        Unauthorized,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        DeadlineExceeded,
        Conflict,
        PayloadTooLarge,
        ResourceExhausted,
        Cancelled,
        InternalError,
        NotImplementedHere,
        Unavailable,
    )
}


def error_to_wire(error: MicroError) -> str:
    """Write an error as go-micro does: id, code, detail and status as JSON, without empty ones."""
    fields = {"id": error.id, "code": error.code, "detail": error.detail, "status": error.status}
    return json.dumps({k: v for k, v in fields.items() if v}, separators=(",", ":"))


def error_from_wire(text: str) -> MicroError:
    """Rebuild an error from a `Micro-Error` header.

    A go-micro handler's plain error is bare text: it becomes an InternalError with that detail.
    """
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        return InternalError(text)
    code = fields.get("code")
    number = code if isinstance(code, int) and code > 0 else 500
    cls = _BY_CODE.get(number, MicroError)
    return cls(str(fields.get("detail", "")), code=number, id=str(fields.get("id", "")))
