"""An application's own settings: a pydantic model with a prefix, from the same sources as ours.

With the prefix `points`, the field `dsn` is `--points-dsn`, `MICRO_POINTS_DSN`, and `dsn` in the
table `[points]` of the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from micro.errors import ConfigError, UsageError
from micro.settings.hints import hide_secrets, nearest
from micro.settings.model import OPTIONS
from micro.settings.sources import Found, Source, plain_name

__all__ = ["OwnModel", "check_prefixes", "prefix_for"]

_SUFFIX = re.compile(r"(Settings|Config|Configuration|Options)$")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PREFIX = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_SECRET = re.compile(r"pass|secret|token|key|credential|dsn|auth", re.IGNORECASE)
_PLACEHOLDERS: dict[object, str] = {str: "TEXT", int: "INTEGER", float: "NUMBER", bool: "BOOLEAN"}
_OURS = {option.name for option in OPTIONS}
_FIRST_WORDS = {name.partition("_")[0] for name in _OURS}


def prefix_for(model: type[BaseModel], service: str) -> str:
    """The prefix of a model that was given none: `points` for a class `PointsSettings`.

    For a class that is called just `Settings` it is the last part of the service's name.

    Raises:
        UsageError: the service has no name yet.
    """
    name = _HUMP.sub("_", _SUFFIX.sub("", model.__name__)).lower()
    name = name or plain_name(service.rpartition(".")[2])
    if not name:
        raise UsageError(
            f"the settings {model.__name__} need a prefix: write"
            f" service.config({model.__name__}, prefix='points')"
        )
    return name


class OwnModel:
    """A settings model of the application, and its prefix.

    Args:
        model: A pydantic model; its fields are the settings.
        prefix: What flags and variables begin with, and the name of the file's table.
        place: Where the model is, for errors.

    Attributes:
        model: As the argument.
        prefix: As the argument, with underscores.
        place: As the argument.

    Raises:
        UsageError: the model or the prefix cannot be used.
    """

    def __init__(self, model: type[BaseModel], prefix: str, place: str) -> None:
        self.model = model
        self.place = place
        self.prefix: str = plain_name(prefix)
        if not _PREFIX.fullmatch(self.prefix):
            raise UsageError(
                f"{place}: prefix {prefix!r}: write lower-case letters, digits and dashes"
            )
        if self.prefix in _FIRST_WORDS:
            raise UsageError(
                f"{place}: settings of the framework begin with {prefix!r}; write another prefix,"
                f" as in service.config({model.__name__}, prefix='my-{prefix}')"
            )
        self._fields = {plain_name(name): name for name in model.model_fields}

    def find(self, sources: Sequence[Source]) -> dict[str, Found]:
        """Its values by field, from sources of which the strongest comes first.

        Raises:
            ConfigError: a flag, an argument or a key of the file's table is no field.
        """
        found: dict[str, Found] = {}
        for source in reversed(sources):
            for key, value in _entries(source, self.prefix):
                if key in self._fields:
                    found[key] = value
                elif source.strict:
                    raise ConfigError(self._unknown(key, value))
        return found

    def read(self, found: Mapping[str, Found]) -> BaseModel:
        """Make the model of what was found.

        Raises:
            ConfigError: a value cannot be used, or one is missing.
        """
        values = {self._fields[key]: self._value(key, one.value) for key, one in found.items()}
        try:
            return self.model.model_validate(values, by_name=True)
        except ValidationError as error:
            raise ConfigError(self._problem(error, found)) from None

    def help(self) -> list[str]:
        """Its settings as lines of text, two for each, for a program's `--help`."""
        lines: list[str] = []
        for key, name in self._fields.items():
            field = self.model.model_fields[name]
            lines.append(f"  {self._flag(key)} {_PLACEHOLDERS.get(field.annotation, 'JSON')}")
            text = f"{field.description or ''} {self._default_text(key, field)}".strip()
            lines.append(f"      {text}")
        return lines

    def _default_text(self, key: str, field: FieldInfo) -> str:
        if field.is_required():
            return "(required)"
        if self._is_secret(key):
            return "(default ***)"
        default = field.get_default(call_default_factory=True, validated_data={})
        return f"(default {hide_secrets(default)})"

    def _value(self, key: str, value: object) -> object:
        """A value as its field wants it; text of a flag or a variable may be JSON."""
        annotation = self.model.model_fields[self._fields[key]].annotation
        if isinstance(value, str) and annotation is not str and value[:1] in ("[", "{"):
            try:
                return json.loads(value)
            except ValueError:
                return value
        return value

    def _problem(self, error: ValidationError, found: Mapping[str, Found]) -> str:
        first = error.errors(include_url=False)[0]
        reason = str(first["msg"]).removeprefix("Value error, ")
        if not first["loc"]:
            return f"settings {self.prefix!r}: {reason}"
        key, *inner = (str(part) for part in first["loc"])
        key = plain_name(key)
        if key not in found:
            return (
                f"setting {self.prefix}.{key} is missing: give {self._flag(key)},"
                f" MICRO_{self.prefix.upper()}_{key.upper()}, or {key} in the table"
                f" [{self.prefix}] of the file that --config names"
            )
        place = "".join(f".{part}" for part in inner)
        if self._is_secret(key):
            # The reason may quote the value.
            return f"{found[key].source}{place}: it cannot be used ({first['type']}), got '***'"
        return f"{found[key].source}{place}: {reason}, got {hide_secrets(first['input'])}"

    def _is_secret(self, key: str) -> bool:
        annotation = self.model.model_fields[self._fields[key]].annotation
        return bool(_SECRET.search(key)) or "Secret" in str(annotation)

    def _flag(self, key: str) -> str:
        return f"--{self.prefix}-{key}".replace("_", "-")

    def _unknown(self, key: str, value: Found) -> str:
        hint = nearest(key, self._fields, cutoff=0.6)
        also = f"did you mean {hint}?" if hint else f"it has: {', '.join(self._fields)}"
        return f"{value.source}: {self.model.__name__} has no setting {key!r}; {also}"


def check_prefixes(models: Iterable[OwnModel], plugins: Iterable[str]) -> None:
    """Check that no two models, and no model and a plugin, share a prefix.

    Args:
        models: The models of all services that share settings.
        plugins: The names of plugins, which are prefixes as well.

    Raises:
        ConfigError: two do; the text names both.
    """
    taken = {plain_name(name): f"plugin {name!r}" for name in plugins}
    for model in models:
        name, mine = model.model.__name__, f"{model.prefix}_"
        for prefix, owner in taken.items():
            if f"{prefix}_".startswith(mine) or mine.startswith(f"{prefix}_"):
                raise ConfigError(
                    f"{model.place}: its prefix {model.prefix!r} cannot be told from {prefix!r} of"
                    f" {owner}; write another, as in service.config({name}, prefix='my-{prefix}')"
                )
        taken[model.prefix] = model.place


def _entries(source: Source, prefix: str) -> Iterator[tuple[str, Found]]:
    """What a source has for a prefix: the keys of its table, then names with the prefix."""
    table = source.values.get(prefix)
    if table is not None:
        if not isinstance(table.value, Mapping):
            raise ConfigError(f"{table.source}: expected a table, got {hide_secrets(table.value)}")
        for key, value in table.value.items():
            yield plain_name(str(key)), Found(value, f"{table.source}.{key}")
    for name, found in source.values.items():
        if name.startswith(f"{prefix}_") and name not in _OURS:
            yield name.removeprefix(f"{prefix}_"), found
