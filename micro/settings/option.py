"""One setting's declaration, and how its value is read from a source."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from micro.errors import ConfigError
from micro.settings.hints import hide_secrets, nearest
from micro.settings.kinds import Pairs, Syntax, show_size
from micro.settings.sources import Found

__all__ = ["Option"]


class Option:
    """One setting's declaration, from which its flag, variable, file key and help derive.

    Attributes:
        name: The setting's name, with underscores.
        default: Its value when no source has it.
        help: Its meaning, in a few words.
        choices: The words it accepts, if these are all.
        syntax: How other values are written.
        repeats: Whether a flag given again adds to the one before it.
        is_switch: Whether its flag takes no value: `--name` or `--no-name`.
    """

    def __init__(self, name: str, default: object, help: str, annotation: Any) -> None:
        type_, *metadata = get_args(annotation) or (annotation,)
        self.name = name
        self.default = default
        self.help = help
        self.choices: tuple[str, ...] = get_args(type_) if get_origin(type_) is Literal else ()
        self.syntax: Syntax = next(
            (one for one in metadata if isinstance(one, Syntax)),
            Syntax("|".join(self.choices), f"one of {', '.join(self.choices)}"),
        )
        self.repeats: Any = annotation == Pairs
        self.is_switch: bool = type_ is bool
        self._annotation = annotation

    @property
    def flag(self) -> str:
        """The flag as the help writes it, with dashes."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def default_text(self) -> str:
        """The default as a user would write it; empty if there is none."""
        if isinstance(self.default, float):
            return f"{self.default:g}s"
        if self.syntax.placeholder == "SIZE" and isinstance(self.default, int):
            return show_size(self.default)
        return "" if self.default in ("", (), {}, False) else str(self.default)

    def read(self, found: Found) -> Any:
        """Read what a source had.

        Raises:
            ConfigError: it cannot be used; the text says where it came from.
        """
        try:
            return self._adapter.validate_python(found.value)
        except ValidationError:
            raise self.refusal(found) from None

    def refusal(self, found: Found) -> ConfigError:
        """The error for a value that cannot be used."""
        hint = nearest(str(found.value), self.choices)
        also = f" (did you mean {hint}?)" if hint else ""
        return ConfigError(
            f"{found.source}: expected {self.syntax.expected}{also},"
            f" got {hide_secrets(found.value)}"
        )

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self._annotation)
