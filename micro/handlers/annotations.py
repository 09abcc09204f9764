"""Reading a function's annotations, and saying where it is when they cannot be used."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from typing_inspection.typing_objects import is_typealiastype

from micro.context import Context
from micro.errors import HandlerError

__all__ = ["bare_type", "function_error", "is_context", "location_of", "read_annotations"]


def location_of(function: Callable[..., Any]) -> str:
    """A function's, class's or object's name, file and line, for the texts of errors."""
    if isinstance(function, type):
        return _location_of_class(function)
    if not inspect.isroutine(function) and not isinstance(function, partial):
        return _location_of_class(type(function))
    plain = inspect.unwrap(getattr(function, "__func__", function))
    code = getattr(plain, "__code__", None)
    name = getattr(plain, "__qualname__", repr(plain))
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code else name


def _location_of_class(cls: type) -> str:
    try:
        path, line = inspect.getsourcefile(cls), inspect.getsourcelines(cls)[1]
    except (OSError, TypeError):
        return f"class {cls.__qualname__}"
    return f"class {cls.__qualname__} ({path}:{line})"


def bare_type(type_: Any) -> Any:
    """A type without `Annotated` and without the names that a `type` statement gave it."""
    while True:
        if get_origin(type_) is Annotated:
            type_ = get_args(type_)[0]
        elif is_typealiastype(type_):
            type_ = type_.__value__
        else:
            return type_


def is_context(type_: Any) -> bool:
    """Whether a parameter of this type gets the context of the call or event."""
    bare = bare_type(type_)
    if get_origin(bare) in (Union, UnionType):
        choices = [bare_type(choice) for choice in get_args(bare)]
        return len(choices) == 2 and Context in choices and NoneType in choices
    return bare is Context


def read_annotations(
    function: Callable[..., Any], localns: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A function's annotations, evaluated.

    Raises:
        HandlerError: one cannot be evaluated.
    """
    plain = getattr(function, "__func__", function)
    try:
        return get_type_hints(plain, localns=dict(localns or {}), include_extras=True)
    except NameError as error:
        raise function_error(
            function,
            f"the name {error.name!r} in its annotations is not defined; define it before the "
            "function, and import it outside 'if TYPE_CHECKING:'",
        ) from error
    except (AttributeError, SyntaxError, TypeError) as error:
        raise function_error(function, f"its annotations cannot be evaluated: {error}") from error


def function_error(function: Callable[..., Any], problem: str) -> HandlerError:
    """The error for a function that cannot be used; the text says where it is."""
    return HandlerError(f"{location_of(function)}: {problem}")
