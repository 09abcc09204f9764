"""Whether the types of a handler can be carried, judged where the handler is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from micro.codec import Codecs, IncompleteType
from micro.errors import CodecError, HandlerError
from micro.handlers.annotations import location_of

__all__ = ["check_servable", "type_name"]


def check_servable(
    codecs: Codecs, function: Callable[..., Any], *, final: bool = False, **types: Any
) -> None:
    """Check that some codec carries each of the types.

    Args:
        codecs: The codecs of the service.
        function: The handler, for the error.
        final: Whether every type must be complete by now; at decoration a model may name one that
            is defined further down in its module.
        **types: The types by what they are, such as `request`.

    Raises:
        HandlerError: no codec carries one; the text names the function and what to write.
    """
    for what, type_ in types.items():
        try:
            codecs.check(type_)
        except IncompleteType as error:
            if final:
                raise _refused(function, what, type_, error) from error
        except CodecError as error:
            raise _refused(function, what, type_, error) from error


def _refused(
    function: Callable[..., Any], what: str, type_: Any, error: CodecError
) -> HandlerError:
    name = type_name(type_)
    return HandlerError(
        f"{location_of(function)}: its {what} type {name} cannot be sent: {error.detail}"
    )


def type_name(type_: Any) -> str:
    """A type as errors name it."""
    return type_.__name__ if isinstance(type_, type) else str(type_)
