"""What a codec says of values that cannot be written and bytes that cannot be read."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from micro.errors import CodecError

__all__ = ["explain", "path_text", "reason", "type_name", "unreadable"]

_MAX_ERRORS = 8
_MAX_COUNTED = 1_000
_MAX_TEXT = 500


def explain(error: ValidationError) -> str:
    """An error in one bounded line: `points: Input should be a valid integer; user: ...`.

    It holds paths and reasons, never the values that were wrong.
    """
    count = error.error_count()
    if count > _MAX_COUNTED:
        return f"{count} values do not fit"
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    parts = [path_text(line["loc"], line["msg"]) for line in errors[:_MAX_ERRORS]]
    if count > _MAX_ERRORS:
        parts.append(f"and {count - _MAX_ERRORS} more")
    return _shorten("; ".join(parts))


def unreadable(name: str, error: Exception) -> CodecError:
    """What to raise when bytes could not be read as the named type."""
    if isinstance(error, CodecError):
        return error
    if isinstance(error, ValidationError):
        return CodecError(explain(error))
    return CodecError(f"cannot read it as {name}: {reason(error)}")


def type_name(type_: Any) -> str:
    """A type's name for people."""
    return type_.__name__ if isinstance(type_, type) else _shorten(str(type_))


def path_text(path: tuple[str | int, ...], message: str) -> str:
    """A message about the value at a path."""
    place = ".".join(_shorten(str(step), 80) for step in path)
    return f"{place}: {message}" if place else message


def reason(error: Exception) -> str:
    """Why an error happened, in one bounded line without values."""
    text = str(error)
    if "input_value=" in text:
        # One of pydantic's warnings: it quotes the value, which may be a secret.
        return "a value is not of the class that the type names"
    if isinstance(error, ValueError | TypeError | OverflowError):
        return _shorten(" ".join(text.split()))
    return type(error).__name__


def _shorten(text: str, most: int = _MAX_TEXT) -> str:
    """Bounded and printable text: keys and reasons may come from a hostile peer."""
    clean = "".join(c if c.isprintable() else "?" for c in text[: most + 1])
    return clean if len(clean) <= most else f"{clean[: most - 3]}..."
