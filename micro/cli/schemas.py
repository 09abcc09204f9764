"""Whether two versions of a topic's type can read each other's events, by their JSON schemas.

A type has two schemas: what it writes, where fields with defaults are always there, and what it
reads, where they may be absent. Code can read events if what they were written with fits what it
reads. Constraints, such as the least value of a number, are not compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import PydanticUserError, TypeAdapter

from micro.errors import ConfigError
from micro.topic import Topic

__all__ = ["compare_schemas", "read_schemas", "topic_schemas"]

Schema = Mapping[str, Any]

_MAX_DEPTH = 16
_SAME_ON_THE_WIRE = {"integer": {"integer", "number"}}


def topic_schemas(topics: Iterable[Topic[Any]]) -> dict[str, Any]:
    """The versions and schemas of topics, for a file; types of other codecs have no schema."""
    return {topic.name: _schemas(topic) for topic in topics}


def read_schemas(path: str) -> dict[str, Any]:
    """Read what `topic_schemas` gave.

    Raises:
        ConfigError: the file cannot be read, or is of another kind.
    """
    try:
        found = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"file {path!r}: {error}") from error
    if not isinstance(found, dict) or not all(
        isinstance(each, dict) and "version" in each for each in found.values()
    ):
        raise ConfigError(f"file {path!r}: expected what 'micro topics schema' prints")
    return found


def compare_schemas(topic: Topic[Any], old: Mapping[str, Any]) -> list[str]:
    """What keeps this code and the older one from reading each other's events, a sentence each.

    An upcast from the older version is trusted: it makes the event what this code reads.
    """
    new = _schemas(topic)
    if not new.get("reads") or not old.get("reads"):
        return []
    found = [f"this code cannot write for older code: {each}" for each in _misfits(new, old)]
    if old["version"] not in topic.upcast:
        found += [f"this code cannot read older events: {each}" for each in _misfits(old, new)]
    return found


def _schemas(topic: Topic[Any]) -> dict[str, Any]:
    try:
        adapter = TypeAdapter(topic.type)
        return {
            "version": topic.version,
            "writes": adapter.json_schema(mode="serialization"),
            "reads": adapter.json_schema(mode="validation"),
        }
    except PydanticUserError:
        return {"version": topic.version}


def _misfits(writer: Mapping[str, Any], reader: Mapping[str, Any]) -> list[str]:
    roots = writer["writes"], reader["reads"]
    return list(dict.fromkeys(_compare(*roots, roots=roots, place="", depth=0)))


def _compare(
    writes: Schema, reads: Schema, *, roots: tuple[Schema, Schema], place: str, depth: int
) -> Iterator[str]:
    writes, reads = _resolved(writes, roots[0]), _resolved(reads, roots[1])
    wanted, given = _kinds(reads, roots[1]), _kinds(writes, roots[0])
    if wanted and (extra := {kind for kind in given if not _fits(kind, wanted)}):
        yield f"{place or 'it'} can be {_words(extra)}, expected {_words(wanted)}"
        return
    if depth >= _MAX_DEPTH:
        return
    properties = writes.get("properties", {})
    for name in reads.get("required", ()):
        if name not in properties:
            yield f"{_at(place, name)} is required, and is not there"
        elif name not in writes.get("required", ()):
            yield f"{_at(place, name)} is required, and is not always there"
    for name in [each for each in properties if each in reads.get("properties", {})]:
        both = properties[name], reads["properties"][name]
        yield from _compare(*both, roots=roots, place=_at(place, name), depth=depth + 1)
    if isinstance(writes.get("items"), dict) and isinstance(reads.get("items"), dict):
        both = writes["items"], reads["items"]
        yield from _compare(*both, roots=roots, place=f"{place}[]", depth=depth + 1)


def _kinds(schema: Schema, root: Schema) -> set[str]:
    """The kinds of values that a schema allows; empty for any."""
    if "enum" in schema or "const" in schema:
        return {json.dumps(each) for each in schema.get("enum", [schema.get("const")])}
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        found = [_kinds(_resolved(option, root), root) for option in options]
        return set().union(*found) if all(found) else set()
    kind = schema.get("type", ())
    return {kind} if isinstance(kind, str) else set(kind)


def _fits(kind: str, wanted: set[str]) -> bool:
    if kind.startswith('"') and "string" in wanted:
        return True
    return bool(_SAME_ON_THE_WIRE.get(kind, {kind}) & wanted)


def _resolved(schema: Schema, root: Schema) -> Schema:
    for _ in range(_MAX_DEPTH):
        if "$ref" not in schema:
            break
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return schema


def _at(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _words(kinds: Iterable[str]) -> str:
    return " or ".join(sorted(kinds))
