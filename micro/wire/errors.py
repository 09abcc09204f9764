"""Errors as text: go-micro's JSON object, with two members that its peers ignore."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from pydantic_core import PydanticSerializationError, to_jsonable_python

from micro.errors import (
    BadRequest,
    Cancelled,
    Conflict,
    DeadlineExceeded,
    Forbidden,
    InternalError,
    MethodNotAllowed,
    MicroError,
    NotFound,
    PayloadTooLarge,
    ResourceExhausted,
    Unauthorized,
    Unavailable,
    Unimplemented,
)

__all__ = ["MAX_DETAILS_BYTES", "error_from_wire", "error_to_wire"]

_log = logging.getLogger("micro.errors")

MAX_DETAILS_BYTES = 16_384
"""What an error's details may take as JSON; larger ones are left out, with a line in the log."""

_MAX_KINDS = 16
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
        Unimplemented,
        Unavailable,
    )
}


def error_to_wire(error: MicroError) -> str:
    """Write an error as go-micro does: id, code, detail and status as JSON, without empty ones.

    After these come `kinds`, the names of the application's own classes, and `details`.
    """
    fields: dict[str, object] = {
        "id": error.id,
        "code": error.code,
        "detail": error.detail,
        "status": error.status,
        "kinds": error.kinds,
    }
    text = json.dumps({k: v for k, v in fields.items() if v}, separators=(",", ":"))
    details = error.details
    written = _write_details(error, details) if details else ""
    return f'{text[:-1]},"details":{written}}}' if written else text


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
    details = fields.get("details")
    error = _BY_CODE.get(number, MicroError)(
        str(fields.get("detail", "")),
        code=number,
        id=str(fields.get("id", "")),
        details=details if isinstance(details, dict) else None,
    )
    kinds = fields.get("kinds")
    if isinstance(kinds, list):
        error._kinds = tuple(kind for kind in kinds[:_MAX_KINDS] if isinstance(kind, str))
    return error


def _write_details(error: MicroError, details: Mapping[str, object]) -> str:
    """The details as JSON; empty when they cannot be sent, for the error must be."""
    try:
        value = to_jsonable_python(details, inf_nan_mode="constants")
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as problem:
        name = type(error).__name__
        _log.error("the details of %s were left out: they cannot be written: %s", name, problem)
        return ""
    if len(text) > MAX_DETAILS_BYTES:
        name = type(error).__name__
        _log.error("the details of %s were left out: %d bytes as JSON", name, len(text))
        return ""
    return text
