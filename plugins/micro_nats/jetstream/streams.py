"""Streams as topics: how a topic is kept becomes a stream's configuration, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from micro.broker.kept_types import TopicSpec
from micro.names import topic_matches
from micro_nats.jetstream.names import Names, topic_filters

__all__ = [
    "SHARED_DEDUP_SECONDS",
    "differences",
    "has_late",
    "later_config",
    "nanoseconds",
    "read_spec",
    "returns_config",
    "stream_config",
    "takes",
]

_TOPIC_MARK = "micro.topic"
_PARTITIONS_MARK = "micro.partitions"
_NANOSECONDS = 1_000_000_000
# The server keeps ids for two minutes when it is not told, and for 0.1 s at least.
_MIN_DEDUP_SECONDS = 0.1
_SHARED_AGE_SECONDS = 30 * 24 * 3600.0
SHARED_DEDUP_SECONDS = 120.0
_UNLIMITED = -1


def stream_config(
    spec: TopicSpec, names: Names, *, replicas: int, schedules: bool
) -> dict[str, Any]:
    """The configuration of the stream that keeps a topic.

    Args:
        spec: How it is to be kept.
        names: The names of its namespace.
        replicas: Copies on different servers.
        schedules: Whether the server can hold an event until its time.
    """
    config = _common(names.stream(spec.name), spec.age, spec.dedup, replicas)
    if schedules:
        # A stream that refuses events when it is full cannot hold any back: it takes them from
        # another one when their time has come.
        moved = {"src": names.due(spec.name, "*"), "dest": names.late(spec.name, "{{wildcard(1)}}")}
        config["sources"] = [{"name": names.later, "subject_transforms": [moved]}]
    return config | {
        "subjects": topic_filters(names, spec.name, spec.partitions, late=False),
        "retention": "workqueue" if spec.work else "limits",
        "max_bytes": spec.bytes or _UNLIMITED,
        "max_msgs": spec.messages or _UNLIMITED,
        "discard": "new" if spec.full == "refuse" else "old",
        "metadata": {_TOPIC_MARK: spec.name, _PARTITIONS_MARK: str(spec.partitions)},
    }


def returns_config(names: Names, *, replicas: int, schedules: bool) -> dict[str, Any]:
    """The configuration of the stream that holds events for one durable each."""
    due, waiting = names.returns_subjects
    config = _common(names.returns, _SHARED_AGE_SECONDS, SHARED_DEDUP_SECONDS, replicas)
    if schedules:
        config["allow_msg_schedules"] = True
    return config | {
        "subjects": [due, waiting] if schedules else [due],
        # Each event has one reader, and is removed when that one has settled it.
        "retention": "workqueue",
        "metadata": {_TOPIC_MARK: ""},
    }


def later_config(names: Names, *, replicas: int) -> dict[str, Any]:
    """The configuration of the stream that holds events until their time."""
    config = _common(names.later, _SHARED_AGE_SECONDS, SHARED_DEDUP_SECONDS, replicas)
    return config | {
        "subjects": list(names.later_subjects),
        "allow_msg_schedules": True,
        "metadata": {_TOPIC_MARK: ""},
    }


def has_late(config: Mapping[str, Any], names: Names) -> bool:
    """Whether a stream takes events that waited for their time."""
    return any(source.get("name") == names.later for source in config.get("sources") or ())


def read_spec(config: Mapping[str, Any], asked: TopicSpec) -> TopicSpec:
    """How a stream keeps a topic; what a stream does not tell is taken from `asked`."""
    placed = bool(asked.place)
    partitions = config.get("metadata", {}).get(_PARTITIONS_MARK, "")
    return replace(
        asked,
        age=_seconds(config.get("max_age")),
        bytes=max(0, config.get("max_bytes", 0)),
        messages=max(0, config.get("max_msgs", 0)),
        work=config.get("retention") == "workqueue",
        full="refuse" if config.get("discard") == "new" else "discard_old",
        dedup=_seconds(config.get("duplicate_window")),
        replicas=config.get("num_replicas", 1),
        partitions=int(partitions) if partitions.isdigit() and not placed else asked.partitions,
    )


def differences(
    config: Mapping[str, Any], wanted: Mapping[str, Any], asked: TopicSpec
) -> list[str]:
    """Where a stream differs from what was asked for, a sentence each.

    Args:
        config: The stream's configuration.
        wanted: The configuration that `asked` would have been created with.
        asked: How the topic is to be kept.
    """
    have = read_spec(config, asked)
    want = replace(read_spec(wanted, asked), replicas=asked.replicas or have.replicas)
    found = [
        f"{name} is {_shown(name, getattr(have, name))}, asked for"
        f" {_shown(name, getattr(want, name))}"
        for name in ("age", "bytes", "messages", "work", "full", "dedup", "partitions", "replicas")
        if getattr(have, name) != getattr(want, name)
    ]
    if config.get("storage") == "memory":
        found.append("it is held in memory: a restart of the server loses every event")
    if config.get("retention") == "interest":
        found.append("an event is removed once every durable has settled it (retention interest)")
    return found


def takes(subjects: Sequence[str], subject: str) -> bool:
    """Whether a stream with these subjects stores what is published to `subject`."""
    return any(topic_matches(pattern, subject) for pattern in subjects)


def _common(name: str, age: float, dedup: float, replicas: int) -> dict[str, Any]:
    window = max(_MIN_DEDUP_SECONDS, min(dedup, age) if age else dedup)
    return {
        "name": name,
        "storage": "file",
        "num_replicas": replicas,
        "max_age": nanoseconds(age),
        "duplicate_window": nanoseconds(window),
        "allow_direct": True,
    }


def nanoseconds(seconds: float) -> int:
    """Seconds as JetStream writes durations."""
    return round(seconds * _NANOSECONDS)


def _seconds(value: object) -> float:
    return value / _NANOSECONDS if isinstance(value, int) else 0.0


def _shown(name: str, value: object) -> str:
    return f"{value:g} s" if name in ("age", "dedup") else f"{value}"
