"""What the JSON and MessagePack codecs share: types seen through pydantic, and its errors told."""

from __future__ import annotations

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

__all__ = ["TypeModel", "explain", "path_text", "type_name", "unreadable", "unwritable"]

_MAX_ERRORS = 8
_MAX_COUNTED = 1_000
_MAX_TEXT = 500
_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
_CORE_CONFIG = CoreConfig(ser_json_bytes="base64", val_json_bytes="base64")
_OPAQUE = ("config", "default", "expected", "metadata")
# What pydantic writes without ever meeting a float. Any other schema may lead to one.
_NO_FLOATS = frozenset(
    [
        "bool",
        "bytes",
        "chain",
        "dataclass",
        "dataclass-args",
        "dataclass-field",
        "date",
        "datetime",
        "decimal",
        "default",
        "definition-ref",
        "definitions",
        "dict",
        "enum",
        "frozenset",
        "int",
        "list",
        "literal",
        "model",
        "model-field",
        "model-fields",
        "none",
        "nullable",
        "set",
        "str",
        "time",
        "timedelta",
        "tuple",
        "typed-dict",
        "typed-dict-field",
        "union",
        "url",
        "uuid",
    ]
)


class TypeModel:
    """A type as pydantic sees it.

    Attributes:
        name: The type's, for error texts.
        validator: pydantic's compiled validator.
        serializer: pydantic's compiled serializer.
        allows_none: Whether `None` is a value of the type.
        cls: The class of its values, for `isinstance`; `()` when that cannot tell.
        is_struct: Whether it is a class of fields: a pydantic model or a dataclass.
        floats: Whether a value may hold floats, so that infinity or NaN may be among them.
        untyped: Whether it may hold values whose type the reader does not know.

    Raises:
        CodecError: pydantic cannot handle the type.
    """

    __slots__ = (
        "allows_none",
        "cls",
        "floats",
        "is_struct",
        "name",
        "serializer",
        "untyped",
        "validator",
    )

    def __init__(self, type_: Any) -> None:
        self.name = type_name(type_)
        untyped = type_ is Any or type_ is object
        try:
            schema, self.validator, self.serializer = _compile(Any if untyped else type_)
        except (PydanticUserError, PydanticUndefinedAnnotation, TypeError, NameError) as error:
            reason = str(error).partition("\n")[0]
            raise CodecError(f"values of {self.name} cannot be carried: {reason}") from error
        self.allows_none = _allows_none(self.validator)
        kinds = _kinds(schema)
        self.floats = not kinds <= _NO_FLOATS
        self.untyped = "any" in kinds
        self.cls = object if untyped else _checkable(type_)
        self.is_struct = self.cls == type_ and (issubclass(type_, BaseModel) or is_dataclass(type_))

    def empty(self) -> Any:
        """The value of an object without members, or `None` when that does not fit the type."""
        try:
            return self.validator.validate_python({})
        except ValidationError:
            return None

    def misfit(self, value: Any) -> str:
        """Why a value is not of the type, with paths and without values; empty when it is."""
        try:
            self.validator.validate_python(value, strict=True)
        except ValidationError as error:
            return explain(error)
        # Validators of the user's run here, with a value that they may not expect.
        except Exception as error:
            return type(error).__name__
        return ""

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
    if count > _MAX_COUNTED:
        return f"{count} values do not fit"
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    parts = [path_text(line["loc"], line["msg"]) for line in errors[:_MAX_ERRORS]]
    if count > _MAX_ERRORS:
        parts.append(f"and {count - _MAX_ERRORS} more")
    return _shorten("; ".join(parts))


def unwritable(model: TypeModel, value: Any, error: Exception) -> CodecError:
    """What to raise when a value of a type could not be written."""
    if isinstance(error, CodecError):
        return error
    if isinstance(error, ValidationError):
        reason = explain(error)
    else:
        reason = model.misfit(value) or _reason(error)
    return CodecError(f"cannot write it as {model.name}: {reason}")


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


def _compile(type_: Any) -> tuple[Any, SchemaValidator, SchemaSerializer]:
    adapter = _adapter(type_)
    if not adapter.pydantic_complete:
        raise TypeError("it names a type that is not defined where it stands")
    schema = _with_base64(adapter.core_schema)
    if schema == adapter.core_schema:
        # pydantic types these as possibly plug-ins' wrappers and mocks, which the check ruled out.
        return schema, adapter.validator, adapter.serializer  # type: ignore[return-value]
    return schema, SchemaValidator(schema, _CORE_CONFIG), SchemaSerializer(schema, _CORE_CONFIG)


def _kinds(schema: Any) -> set[str]:
    """The types of all schemas in a schema, those of serializers included."""
    if isinstance(schema, list | tuple):
        return set().union(*map(_kinds, schema))
    if not isinstance(schema, dict):
        return set()
    kind = schema.get("type")
    found = {kind} if isinstance(kind, str) else set()
    if kind == "bytes":
        return found
    return found.union(*(_kinds(item) for key, item in schema.items() if key not in _OPAQUE))


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


def path_text(path: tuple[str | int, ...], message: str) -> str:
    """A message about the value at a path."""
    place = ".".join(_shorten(str(step), 80) for step in path)
    return f"{place}: {message}" if place else message


def _reason(error: Exception) -> str:
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
