"""The providers of one service: lifespans, what handlers depend on, and overrides of both.

All is read and checked at decoration; `injection.py` calls the providers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType
from typing import Any

from micro.context import Context
from micro.errors import HandlerError, UsageError
from micro.handlers.annotations import (
    bare_type,
    function_error,
    is_context,
    location_of,
    read_annotations,
)
from micro.handlers.depends import (
    Argument,
    Depends,
    Provider,
    annotated_part,
    depends_in,
    parameters_of,
    style_of,
)

__all__ = ["Providers"]

_OWNERS = "__micro_lifespan_of__"
"""The attribute of a function that is a lifespan: the names of its services."""

_Parameter = inspect.Parameter
_STARS = (_Parameter.VAR_POSITIONAL, _Parameter.VAR_KEYWORD)


class Providers:
    """What the handlers of one service can depend on.

    Args:
        service: The service's name, for errors.
        given: What is injected by type beside the context, and how a run gives it.

    Attributes:
        given: As the argument.
        lifespans: The lifespans, in the order in which they were declared.
        overrides: What is used in place of a provider, by the function.
    """

    def __init__(
        self, service: str = "", given: Mapping[type, Callable[[Any], object]] | None = None
    ) -> None:
        self.given: Mapping[type, Callable[[Any], object]] = given or {}
        self.lifespans: dict[Callable[..., Any], Provider] = {}
        self.overrides: dict[Callable[..., Any], Provider] = {}
        self._service = service
        self._per_call: dict[Callable[..., Any], Provider] = {}
        self._changed: list[Callable[[], None]] = []

    def add_lifespan(self, function: Callable[..., Any], localns: Mapping[str, Any]) -> None:
        """Declare a lifespan.

        Raises:
            HandlerError: it cannot be one.
        """
        if not callable(function):
            raise HandlerError(
                f"a lifespan is a function, got {function!r}: write @service.lifespan above one"
            )
        if function in self._per_call:
            raise function_error(
                function,
                "a handler depends on it already, as on a provider for each call; write"
                " @service.lifespan above it, before the handlers",
            )
        self.lifespans[function] = self._read(function, localns, (), is_lifespan=True)
        plain = getattr(function, "__func__", function)
        if isinstance(plain, FunctionType):
            vars(plain)[_OWNERS] = (*vars(plain).get(_OWNERS, ()), self._service)

    def argument(
        self,
        function: Callable[..., Any],
        parameter: inspect.Parameter,
        type_: Any,
        localns: Mapping[str, Any] | None,
    ) -> Argument | None:
        """What a handler's parameter depends on; `None` when it is no dependency.

        Raises:
            HandlerError: the dependency cannot be used.
        """
        return self._argument(function, parameter, type_, localns, ())

    def task_arguments(
        self, function: Callable[..., Any], localns: Mapping[str, Any]
    ) -> tuple[Argument, ...]:
        """What a background task is called with: lifespans and what is injected by type.

        Raises:
            HandlerError: a parameter is something else.
        """
        return self._read(function, localns, (), is_lifespan=True).arguments

    @contextmanager
    def override(
        self, provider: Callable[..., Any], fake: Callable[..., Any], localns: Mapping[str, Any]
    ) -> Iterator[None]:
        """Use `fake` in place of a provider while the block lasts, in all runs of the service.

        Raises:
            HandlerError: one of them cannot be used.
            UsageError: a lifespan is open already.
        """
        original = self.lifespans.get(provider) or self._per_call.get(provider)
        if original is None:
            raise HandlerError(
                f"{location_of(provider)}: no handler of {self._service!r} depends on it, so it"
                " cannot be overridden; give override() the function that Depends() was given"
            )
        if original.is_lifespan and self._changed:
            raise UsageError(
                f"{location_of(provider)}: it is open already; override a lifespan before the"
                " service starts"
            )
        used = self.lifespans.get(fake) or self._read(
            fake, localns, (), is_lifespan=original.is_lifespan
        )
        before = dict(self.overrides)
        self.overrides[provider] = used
        try:
            self._tell()
            yield
        finally:
            self.overrides = before
            self._tell()

    @contextmanager
    def telling(self, changed: Callable[[], None]) -> Iterator[None]:
        """Call a function whenever the overrides change, while the block lasts."""
        self._changed.append(changed)
        try:
            yield
        finally:
            self._changed.remove(changed)

    def in_place_of(self, provider: Provider) -> Provider:
        """The provider that is used in place of another; mostly that one itself."""
        return self.overrides.get(provider.function, provider) if self.overrides else provider

    def _tell(self) -> None:
        for changed in self._changed:
            changed()

    def _provider(
        self,
        asking: Callable[..., Any],
        depends: Depends,
        localns: Mapping[str, Any] | None,
        path: tuple[Callable[..., Any], ...],
    ) -> Provider:
        function = depends.provider
        if not callable(function):
            raise function_error(
                asking, f"Depends takes a function, got {function!r}; write Depends(database)"
            )
        if function in path:
            circle = " -> ".join(map(location_of, (*path[path.index(function) :], function)))
            raise function_error(asking, f"its dependencies form a cycle: {circle}")
        if (known := self.lifespans.get(function) or self._per_call.get(function)) is not None:
            return known
        owners = getattr(function, _OWNERS, ())
        if owners:
            raise function_error(
                asking,
                f"{location_of(function)} is a lifespan of another service, {owners[0]!r}; declare"
                " it for this one as well, with @service.lifespan",
            )
        found = self._read(function, localns, path, is_lifespan=False)
        self._per_call[function] = found
        return found

    def _read(
        self,
        function: Callable[..., Any],
        localns: Mapping[str, Any] | None,
        path: tuple[Callable[..., Any], ...],
        *,
        is_lifespan: bool,
    ) -> Provider:
        called, style = style_of(function)
        hints = read_annotations(annotated_part(called), localns)
        arguments = tuple(
            argument
            for parameter in parameters_of(called)
            if (
                argument := self._required(
                    function, parameter, hints, localns, (*path, function), is_lifespan
                )
            )
        )
        return Provider(
            function=function,
            called=called,
            style=style,
            is_lifespan=is_lifespan,
            arguments=arguments,
        )

    def _required(
        self,
        function: Callable[..., Any],
        parameter: inspect.Parameter,
        hints: Mapping[str, Any],
        localns: Mapping[str, Any] | None,
        path: tuple[Callable[..., Any], ...],
        is_lifespan: bool,
    ) -> Argument | None:
        """The argument for a provider's parameter; `None` when its default is used."""
        name = parameter.name
        type_ = hints.get(name, Any)
        argument = self._argument(function, parameter, type_, localns, path)
        if argument is None and is_context(type_):
            argument = Argument(
                name=name, by_name=parameter.kind is _Parameter.KEYWORD_ONLY, source=Context
            )
        if argument is None:
            if parameter.default is not _Parameter.empty or parameter.kind in _STARS:
                return None
            raise function_error(
                function,
                f"nothing gives its parameter {name!r}; annotate it as in"
                f" '{name}: Annotated[T, Depends(f)]', as Context or Client, or give it a default",
            )
        if is_lifespan and argument.source is Context:
            raise function_error(function, f"{name!r} is a Context, which only a call or event has")
        source = argument.source
        if is_lifespan and isinstance(source, Provider) and not source.is_lifespan:
            raise function_error(
                function,
                f"{name!r} is provided for each call by {location_of(source.function)}, but this"
                " lives as long as the service; write @service.lifespan above the provider",
            )
        return argument

    def _argument(
        self,
        function: Callable[..., Any],
        parameter: inspect.Parameter,
        type_: Any,
        localns: Mapping[str, Any] | None,
        path: tuple[Callable[..., Any], ...],
    ) -> Argument | None:
        name = parameter.name
        if isinstance(parameter.default, Depends):
            raise function_error(
                function,
                f"{name!r} has a Depends as its default; write"
                f" '{name}: Annotated[T, {parameter.default!r}]'",
            )
        by_name = parameter.kind is _Parameter.KEYWORD_ONLY
        asked = depends_in(type_)
        if not asked:
            bare = bare_type(type_)
            if isinstance(bare, type) and bare in self.given:
                return Argument(name=name, by_name=by_name, source=bare)
            return None
        if len(asked) > 1 or asked[0] is Depends:
            raise function_error(function, f"{name!r} needs one Depends; write Depends(database)")
        return Argument(
            name=name, by_name=by_name, source=self._provider(function, asked[0], localns, path)
        )
