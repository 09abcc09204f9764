"""What the JSON and MessagePack codecs share: types seen through pydantic, and its errors told."""

from __future__ import annotations

import re
from binascii import b2a_base64
from dataclasses import is_dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation
from pydantic_core import (
    CoreConfig,
    PydanticSerializationUnexpectedValue,
    SchemaSerializer,
    SchemaValidator,
    core_schema,
)

from micro.errors import CodecError

__all__ = ["TypeModel", "explain", "type_name", "unreadable", "unwritable"]

_MOST_ERRORS = 8
_MOST_COUNTED = 1_000
_MOST_TEXT = 500
_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
_CORE_CONFIG = CoreConfig(ser_json_bytes="base64", val_json_bytes="base64")
_MISFIT = re.compile(
    r"Expected `(.+?)` - serialized value may not be as expected "
    r"\[(?:field_name='(\w+)', )?.*input_type=(\w+)\]"
)
_OPAQUE = ("config", "default", "expected", "metadata")


class TypeModel:
    """A type as pydantic sees it.

    Attributes:
        name: The type's, for error texts.
        validator: pydantic's compiled validator.
        serializer: pydantic's compiled serializer.
        allows_none: Whether `None` is a value of the type.
        cls: The class of its values, for `isinstance`; `()` when that cannot tell.
        is_struct: Whether it is a class of fields: a pydantic model or a dataclass.

    Raises:
        CodecError: pydantic cannot handle the type.
    """

    __slots__ = ("allows_none", "cls", "is_struct", "name", "serializer", "validator")

    def __init__(self, type_: Any) -> None:
        self.name = type_name(type_)
        untyped = type_ is Any or type_ is object
        try:
            self.validator, self.serializer = _compile(Any if untyped else type_)
        except (PydanticUserError, PydanticUndefinedAnnotation, TypeError, NameError) as error:
            reason = str(error).partition("\n")[0]
            raise CodecError(f"values of {self.name} cannot be carried: {reason}") from error
        self.allows_none = _allows_none(self.validator)
        self.cls = object if untyped else _checkable(type_)
        self.is_struct = self.cls == type_ and (issubclass(type_, BaseModel) or is_dataclass(type_))

    def check(self, value: Any) -> Any:
        """A value that is not of `cls`, as the type would have it.

        pydantic by itself writes a wrong value and a warning, and of a model of another class
        whatever fields fit.

        Raises:
            CodecError: the value is `None`, or of a wrong class.
            ValidationError: it is a model of another class and does not fit.
        """
        if value is None and not self.allows_none:
            raise CodecError(f"cannot write None as {self.name}")
        if not self.is_struct:
            return value
        if not isinstance(value, BaseModel):
            raise CodecError(f"cannot write a {type(value).__name__} as {self.name}")
        # `Page(...)` is no instance of `Page[Entry]`, and yet meant to be one.
        return self.validator.validate_python(value)


def explain(error: ValidationError) -> str:
    """An error in one bounded line: `points: Input should be a valid integer; user: ...`.

    It holds paths and reasons, never the values that were wrong.
    """
    count = error.error_count()
    if count > _MOST_COUNTED:
        return f"{count} values do not fit"
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    parts = [_explain_one(line["loc"], line["msg"]) for line in errors[:_MOST_ERRORS]]
    if count > _MOST_ERRORS:
        parts.append(f"and {count - _MOST_ERRORS} more")
    return _shorten("; ".join(parts))


def unwritable(name: str, error: Exception) -> CodecError:
    """What to raise when a value of the named type could not be written."""
    if isinstance(error, CodecError):
        return error
    reason = explain(error) if isinstance(error, ValidationError) else _reason(error)
    return CodecError(f"cannot write it as {name}: {reason}")


def unreadable(name: str, error: Exception) -> CodecError:
    """What to raise when bytes could not be read as the named type."""
    if isinstance(error, CodecError):
        return error
    if isinstance(error, ValidationError):
        return CodecError(explain(error))
    return CodecError(f"cannot read it as {name}: {_reason(error)}")


def type_name(type_: Any) -> str:
    """A type's name for people."""
    return type_.__name__ if isinstance(type_, type) else _shorten(str(type_))


def _compile(type_: Any) -> tuple[SchemaValidator, SchemaSerializer]:
    adapter = _adapter(type_)
    if not adapter.pydantic_complete:
        raise TypeError("it names a type that is not defined where it stands")
    schema = _with_base64(adapter.core_schema)
    if schema == adapter.core_schema:
        # pydantic types these as possibly plug-ins' wrappers and mocks, which the check ruled out.
        return adapter.validator, adapter.serializer  # type: ignore[return-value]
    return SchemaValidator(schema, _CORE_CONFIG), SchemaSerializer(schema, _CORE_CONFIG)


def _adapter(type_: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(type_, config=_CONFIG)
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(type_)


def _with_base64(schema: Any) -> Any:
    """A schema whose bytes are JSON strings of standard base64, as Go writes and reads them.

    pydantic's own is the URL-safe alphabet, which Go refuses. A pydantic model's configuration is
    its author's: models stay as they are.
    """
    if isinstance(schema, list):
        return [_with_base64(item) for item in schema]
    if not isinstance(schema, dict) or schema.get("type") == "model":
        return schema
    changed = {k: v if k in _OPAQUE else _with_base64(v) for k, v in schema.items()}
    if schema.get("type") == "bytes":
        changed.setdefault("serialization", _BASE64)
    elif schema.get("type") in ("dataclass", "typed-dict"):
        changed["config"] = {**_CORE_CONFIG, **(schema.get("config") or {})}
    return changed


def _write_base64(value: object) -> str:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise PydanticSerializationUnexpectedValue("expected bytes")
    return b2a_base64(value, newline=False).decode()


_BASE64 = core_schema.plain_serializer_function_ser_schema(_write_base64, when_used="json")


def _allows_none(validator: SchemaValidator) -> bool:
    try:
        return validator.validate_python(None) is None
    # Validators of the user's run here, with a value they may not expect.
    except Exception:
        return False


def _checkable(type_: Any) -> Any:
    try:
        isinstance(None, type_)
    except TypeError:
        # TypedDict and most protocols are classes, but refuse to be asked.
        return ()
    return type_ if isinstance(type_, type) else ()


def _explain_one(path: tuple[str | int, ...], message: str) -> str:
    place = ".".join(_shorten(str(step), 80) for step in path)
    return f"{place}: {message}" if place else message


def _reason(error: Exception) -> str:
    text = str(error)
    misfits = _MISFIT.findall(text)
    if misfits:
        # pydantic's text quotes the values.
        parts = (
            f"{field + ': ' if field else ''}expected {wanted}, got {given}"
            for wanted, field, given in misfits[:_MOST_ERRORS]
        )
        return _shorten("; ".join(parts))
    if isinstance(error, ValueError | TypeError | OverflowError):
        return _shorten(" ".join(text.split()))
    return type(error).__name__


def _shorten(text: str, most: int = _MOST_TEXT) -> str:
    """Bounded and printable text: keys and reasons may come from a hostile peer."""
    clean = "".join(c if c.isprintable() else "?" for c in text[: most + 1])
    return clean if len(clean) <= most else f"{clean[: most - 3]}..."
