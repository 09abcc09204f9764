"""Whether every value of one type is a value of another."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from micro.codec import Raw
from micro.handlers.annotations import bare_type

__all__ = ["takes"]


def takes(wanted: Any, given: Any) -> bool:
    """Whether every value of the type `given` is one of the type `wanted`."""
    wanted, given = bare_type(wanted), bare_type(given)
    if wanted == given or wanted in (Any, object, Raw):
        return True
    if get_origin(given) in (Union, UnionType):
        return all(takes(wanted, each) for each in get_args(given))
    if get_origin(wanted) in (Union, UnionType):
        return any(takes(each, given) for each in get_args(wanted))
    if given is None or given is NoneType:
        return wanted is None or wanted is NoneType
    return isinstance(wanted, type) and isinstance(given, type) and issubclass(given, wanted)
