"""Errors of JetStream's API, by the numbers of nats-server's `server/errors.json`."""

from __future__ import annotations

from collections.abc import Mapping

from micro.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    MicroError,
    NotFound,
    PayloadTooLarge,
    QueueFull,
    Unavailable,
    Unsupported,
)

__all__ = [
    "CONSUMER_EXISTS",
    "NO_JETSTREAM",
    "SUBJECTS_OVERLAP",
    "TOO_FEW_SERVERS",
    "number_of",
    "read_error",
]

_NUMBER = "err_code"

CONSUMER_EXISTS = frozenset({10013, 10105, 10148})
SUBJECTS_OVERLAP = 10065
# Replicas that this server, or so small a cluster, cannot hold.
TOO_FEW_SERVERS = frozenset({10005, 10074})
NO_JETSTREAM = "JetStream is not switched on: start the server with `-js`, or enable the account"

_CLASSES: Mapping[int, type[MicroError]] = {
    10002: QueueFull,  # the account's resources are used up
    10005: Unsupported,
    10013: Conflict,
    10014: NotFound,
    10023: QueueFull,  # the server's resources are used up
    10026: Unsupported,
    10027: Unsupported,
    10028: QueueFull,
    10037: NotFound,
    10039: Unavailable,
    10047: QueueFull,
    10052: Unsupported,
    10043: NotFound,
    10054: PayloadTooLarge,
    10057: NotFound,
    10058: Conflict,
    10059: NotFound,
    10060: Conflict,
    SUBJECTS_OVERLAP: Conflict,
    10071: Conflict,
    10074: Unsupported,
    10076: Unavailable,
    10099: Unsupported,
    10100: Unsupported,
    10101: Unsupported,
    10105: Conflict,
    10113: Unsupported,
    10122: Unsupported,
    10148: Conflict,
    10164: Conflict,
    10167: QueueFull,  # more messages than the server takes in at once
}
_STORE_FAILED = 10077
_NO_JETSTREAM = frozenset({10039, 10076})
_BY_STATUS: Mapping[int, type[MicroError]] = {
    400: BadRequest,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: PayloadTooLarge,
    429: QueueFull,
}


def read_error(error: Mapping[str, object], doing: str) -> MicroError:
    """The error of an answer, as one of ours.

    Args:
        error: The member `error` of the answer.
        doing: What was asked, for the text.
    """
    number = _integer(error.get(_NUMBER))
    text = str(error.get("description", ""))
    detail = NO_JETSTREAM if number in _NO_JETSTREAM else f"{doing}: the NATS server says: {text}"
    if number == _STORE_FAILED:
        # One number for a full stream and for a failing disk; only the text tells.
        kind: type[MicroError] = QueueFull if text.startswith("maximum") else Unavailable
    else:
        kind = _CLASSES.get(number) or _BY_STATUS.get(_integer(error.get("code")), Unavailable)
    return kind(detail, details={_NUMBER: number})


def number_of(error: MicroError) -> int:
    """The server's number of an error; 0 for an error that is not the server's."""
    return _integer(error.details.get(_NUMBER))


def _integer(value: object) -> int:
    return value if isinstance(value, int) else 0
