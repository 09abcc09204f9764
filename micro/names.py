"""Which names can be used on the wire: services, endpoints, topics and queues.

NATS subjects are dot-separated tokens without spaces; `*` and `>` are wildcards when they are a
token of their own. The limits of 255 bytes and 16 tokens are those that NATS recommends.
"""

from __future__ import annotations

import re

from micro.errors import InvalidName

__all__ = [
    "camel_case",
    "check_endpoint",
    "check_pattern",
    "check_queue",
    "check_service",
    "check_topic",
    "topic_matches",
]

_MAX_BYTES = 255
_MAX_TOKENS = 16
_SERVICE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", re.ASCII)
_ENDPOINT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_UNSAFE = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")
_OTHER_WILDCARDS = {"#": ">", "+": "*"}


def check_service(name: str) -> str:
    """Return a service's name if it can be used: letters, digits, `_`, `-`, and single dots.

    Raises:
        InvalidName: the name cannot be used.
    """
    if not _SERVICE.fullmatch(name):
        raise InvalidName(
            f"service name {name!r}: use letters, digits, '_' and '-' in dot-separated tokens"
        )
    _tokens("service name", name)
    return name


def check_endpoint(name: str) -> str:
    """Return an endpoint's name if it can be used: exactly two parts, `Type.Method`, as go-micro's.

    Raises:
        InvalidName: the name cannot be used.
    """
    if not _ENDPOINT.fullmatch(name) or len(name) > _MAX_BYTES:
        raise InvalidName(f"endpoint name {name!r}: it must look like 'Type.Method'")
    return name


def check_topic(topic: str) -> str:
    """Return a topic if it can be published on: no wildcards, spaces or empty tokens.

    Raises:
        InvalidName: the name cannot be used.
    """
    tokens = _tokens("topic", topic)
    if "*" in tokens or ">" in tokens:
        raise InvalidName(f"topic {topic!r}: wildcards are for subscriptions only")
    return topic


def check_pattern(pattern: str) -> str:
    """Return a topic or pattern if it can be subscribed to.

    Raises:
        InvalidName: it cannot; of MQTT's and AMQP's wildcards the text gives the one to use.
    """
    tokens = _tokens("topic", pattern)
    if ">" in tokens[:-1]:
        raise InvalidName(f"topic {pattern!r}: '>' stands for the rest, so it must come last")
    for token in tokens:
        if token in _OTHER_WILDCARDS:
            raise InvalidName(
                f"topic {pattern!r}: the wildcard for {token!r} is {_OTHER_WILDCARDS[token]!r}"
            )
    return pattern


def check_queue(queue: str) -> str:
    """Return a queue group's name if it can be used.

    Raises:
        InvalidName: the name cannot be used.
    """
    if "*" in queue or ">" in queue:
        raise InvalidName(f"queue {queue!r}: a queue's name has no wildcards")
    _tokens("queue", queue)
    return queue


def camel_case(name: str) -> str:
    """A name in CamelCase: `order_items` gives `OrderItems`, `getURL` gives `GetURL`."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[_-]+", name))


def topic_matches(pattern: str, topic: str) -> bool:
    """Whether a subscription to `pattern` receives what is published on `topic`."""
    wanted, given = pattern.split("."), topic.split(".")
    if wanted[-1] == ">":
        wanted = wanted[:-1]
        if len(given) <= len(wanted):
            return False
        given = given[: len(wanted)]
    if len(wanted) != len(given):
        return False
    return all(token in ("*", given[place]) for place, token in enumerate(wanted))


def _tokens(kind: str, name: str) -> list[str]:
    if not name:
        raise InvalidName(f"{kind} {name!r}: it is empty")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidName(f"{kind} {name!r}: it is not valid Unicode text") from None
    if _UNSAFE.search(name):
        raise InvalidName(f"{kind} {name!r}: spaces and control characters are not allowed")
    tokens = name.split(".")
    if "" in tokens:
        raise InvalidName(f"{kind} {name!r}: it has an empty token")
    if size > _MAX_BYTES or len(tokens) > _MAX_TOKENS:
        raise InvalidName(
            f"{kind} {name[:40]!r}...: more than {_MAX_BYTES} bytes or {_MAX_TOKENS} tokens"
        )
    return tokens
