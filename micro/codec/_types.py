"""What the JSON and MessagePack codecs share: a type as pydantic sees it."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any

from pydantic import BaseModel, PydanticUserError, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation
from pydantic_core import SchemaValidator

from micro.codec._errors import explain, reason, type_name
from micro.codec._schema import (
    ADVICE,
    NO_FLOATS,
    compile_type,
    kinds_in,
    null_reader,
    uncarried,
    undecodable,
)
from micro.errors import CodecError

__all__ = ["IncompleteType", "TypeModel", "unwritable"]


class IncompleteType(CodecError):
    """400: a type names another one that is not defined, or not defined yet."""


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
        "_null_reader",
        "_schema",
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
        self._null_reader: SchemaValidator | None = None
        untyped = type_ is Any or type_ is object
        try:
            type_or_any = Any if untyped else type_
            self._schema, self.validator, self.serializer = compile_type(type_or_any)
        except (PydanticUndefinedAnnotation, NameError) as error:
            raise IncompleteType(
                f"values of {self.name} cannot be carried: it names a type that is not defined"
            ) from error
        except (PydanticUserError, TypeError) as error:
            raise CodecError(uncarried(self.name, error)) from error
        if unreadable := undecodable(self._schema):
            raise CodecError(f"{self.name} is a {unreadable}, which bytes cannot hold; {ADVICE}")
        self.allows_none = _allows_none(self.validator)
        kinds = kinds_in(self._schema)
        self.floats = not kinds <= NO_FLOATS
        self.untyped = "any" in kinds
        self.cls = object if untyped else _checkable(type_)
        self.is_struct = self.cls == type_ and (issubclass(type_, BaseModel) or is_dataclass(type_))

    def empty(self) -> Any:
        """The value of an object without members, or `None` when that does not fit the type."""
        try:
            return self.validator.validate_python({})
        except ValidationError:
            return None

    @property
    def null_reader(self) -> SchemaValidator:
        """A validator that takes null for an empty container; compiled when first needed."""
        if self._null_reader is None:
            self._null_reader = null_reader(self._schema)
        return self._null_reader

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


def unwritable(model: TypeModel, value: Any, error: Exception) -> CodecError:
    """What to raise when a value of a type could not be written."""
    if isinstance(error, CodecError):
        return error
    if isinstance(error, ValidationError):
        text = explain(error)
    else:
        text = model.misfit(value) or reason(error)
    return CodecError(f"cannot write it as {model.name}: {text}")


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
