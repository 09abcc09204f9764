"""Types as pydantic's schemas: compiled once, with bytes as Go writes them.

Reading stops at the first item of a list, set, tuple or dictionary that does not fit: an error for
each of a million items would take a hundred times as long as reading them.
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import Any

from pydantic import ConfigDict, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError
from pydantic_core import (
    CoreConfig,
    PydanticSerializationUnexpectedValue,
    SchemaSerializer,
    SchemaValidator,
    core_schema,
)

__all__ = [
    "ADVICE",
    "NO_FLOATS",
    "compile_type",
    "kinds_in",
    "null_reader",
    "uncarried",
    "undecodable",
]

_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
_CORE_CONFIG = CoreConfig(ser_json_bytes="base64", val_json_bytes="base64")
ADVICE = "use a pydantic model, a dataclass, a TypedDict or a built-in type"
_NOT_DATA = {
    "callable": "function",
    "custom-error": "class",
    "generator": "stream",
    "is-instance": "class without fields",
    "is-subclass": "class",
}
_WRAPPERS = ("definitions", "default", "nullable", "list", "set", "frozenset")
_CONTAINERS = ("dict", "frozenset", "list", "set", "tuple")
_MAKERS = {kind.__name__: kind for kind in (bytes, dict, frozenset, list, set, tuple)}
_OPAQUE = ("config", "default", "expected", "metadata")
# What pydantic writes without ever meeting a float. Any other schema may lead to one.
NO_FLOATS = frozenset(
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


def compile_type(type_: Any) -> tuple[Any, SchemaValidator, SchemaSerializer]:
    adapter = _adapter(type_)
    if not adapter.pydantic_complete:
        raise NameError("it names a type that is not defined where it stands")
    schema = _with_base64(adapter.core_schema)
    quick = _failing_fast(schema)
    if quick == adapter.core_schema:
        # pydantic types these as possibly plug-ins' wrappers and mocks, which the check ruled out.
        return schema, adapter.validator, adapter.serializer  # type: ignore[return-value]
    if schema == adapter.core_schema:
        return schema, _validator(quick), adapter.serializer
    return schema, _validator(quick), SchemaSerializer(schema, _CORE_CONFIG)


def null_reader(schema: Any) -> SchemaValidator:
    """A validator that reads null as an empty list, set, dictionary or byte string.

    In a union, null keeps to what its members say.
    """
    return _validator(_reading_nulls(_failing_fast(schema)))


def uncarried(name: str, error: PydanticUserError | TypeError) -> str:
    if isinstance(error, PydanticSchemaGenerationError):
        return f"values of {name} cannot be carried: it is not data, or holds what is not; {ADVICE}"
    return f"values of {name} cannot be carried: {str(error).partition(chr(10))[0]}"


def undecodable(schema: Any) -> str:
    """What a schema stands for that no bytes can be read as; empty for data."""
    while isinstance(schema, dict):
        kind = schema.get("type")
        if kind in _NOT_DATA:
            return _NOT_DATA[kind]
        if kind not in _WRAPPERS:
            return ""
        schema = schema.get("schema") or schema.get("items_schema")
    return ""


def kinds_in(schema: Any) -> set[str]:
    """The types of all schemas in a schema, those of serializers included."""
    if isinstance(schema, list | tuple):
        return set().union(*map(kinds_in, schema))
    if not isinstance(schema, dict):
        return set()
    kind = schema.get("type")
    found = {kind} if isinstance(kind, str) else set()
    if kind == "bytes":
        return found
    opaque = _opaque(schema)
    return found.union(*(kinds_in(item) for key, item in schema.items() if key not in opaque))


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
    opaque = _opaque(schema)
    changed = {k: v if k in opaque else _with_base64(v) for k, v in schema.items()}
    if schema.get("type") == "bytes":
        changed.setdefault("serialization", _BASE64)
    elif schema.get("type") in ("dataclass", "typed-dict"):
        changed["config"] = {**_CORE_CONFIG, **(schema.get("config") or {})}
    return changed


def _opaque(schema: dict[str, Any]) -> tuple[str, ...]:
    """The members of a schema that are no schemas; those of a map of fields all are."""
    return _OPAQUE if isinstance(schema.get("type"), str) else ()


def _failing_fast(schema: Any) -> Any:
    if isinstance(schema, list | tuple):
        return type(schema)(_failing_fast(item) for item in schema)
    if not isinstance(schema, dict):
        return schema
    opaque = _opaque(schema)
    changed = {k: v if k in opaque else _failing_fast(v) for k, v in schema.items()}
    if schema.get("type") in _CONTAINERS:
        changed["fail_fast"] = True
    return changed


def _reading_nulls(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_reading_nulls(item) for item in schema]
    if not isinstance(schema, dict) or schema.get("type") in ("union", "tagged-union"):
        return schema
    opaque = _opaque(schema)
    changed = {k: v if k in opaque else _reading_nulls(v) for k, v in schema.items()}
    kind = schema.get("type")
    make = _MAKERS.get(kind) if isinstance(kind, str) else None
    if make is None:
        return changed
    reference = changed.pop("ref", None)
    return core_schema.no_info_before_validator_function(
        lambda value: make() if value is None else value, changed, ref=reference
    )


def _validator(schema: Any) -> SchemaValidator:
    # Else the validators that models already have stand in for their parts of the schema. The
    # argument is why pydantic 2.13 is needed.
    return SchemaValidator(schema, _CORE_CONFIG, _use_prebuilt=False)


def _write_base64(value: object) -> str:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise PydanticSerializationUnexpectedValue("expected bytes")
    return b2a_base64(value, newline=False).decode()


_BASE64 = core_schema.plain_serializer_function_ser_schema(_write_base64, when_used="json")
