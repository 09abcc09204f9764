"""Events of other versions: what the schema header says, and reading an older version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import PydanticUserError, TypeAdapter

from micro.codec import Codecs
from micro.topic import Topic, Upcast
from micro.wire.stored import SCHEMA

__all__ = ["read_event", "schema_of", "version_of"]


Content = tuple[str, bytes]
"""A content type, and a body written in it."""


def schema_of(topic: Topic[Any]) -> str:
    """Version and hash of a topic's schema, as `Micro-Schema` has them."""
    try:
        schema = json.dumps(TypeAdapter(topic.type).json_schema(), sort_keys=True)
    except PydanticUserError:
        # A type of another codec, such as a protobuf message: its name is all that is known.
        schema = f"{topic.type!r}"
    return f"{topic.version}:{hashlib.sha256(schema.encode()).hexdigest()[:12]}"


def version_of(headers: Mapping[str, str]) -> int | None:
    """The version that an event was written in; `None` for an event of another framework."""
    version = headers.get(SCHEMA, "").partition(":")[0]
    return int(version) if version.isascii() and version.isdecimal() and len(version) < 9 else None


def read_event(
    codecs: Codecs, topic: Topic[Any], type_: Any, headers: Mapping[str, str], content: Content
) -> Any:
    """Read an event as a type, through the topic's upcasts where it has an older version.

    An event of a newer version is read as it is: the codec ignores fields that it does not know.

    Args:
        codecs: Read and write bodies.
        topic: Has the versions.
        type_: What to read it as.
        headers: The event's headers.
        content: Its content type and its body.

    Raises:
        CodecError: the body is not of the type.
        Exception: an upcast failed.
    """
    version = version_of(headers)
    content_type, body = content
    if version is None or version >= topic.version or not topic.upcast:
        return codecs.decoder_for(content_type, type_)(body)
    value = codecs.decoder_for(content_type, Any)(body)
    for upcast in _steps(topic.upcast, version, topic.version):
        value = upcast(value)
    return codecs.decoder_for(content_type, type_)(codecs.encoder_for(content_type, Any)(value))


def _steps(upcast: Mapping[int, Upcast], version: int, current: int) -> list[Upcast]:
    """The functions from a version to the current one; a version without one needs none."""
    return [upcast[older] for older in range(version, current) if older in upcast]
