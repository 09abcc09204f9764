"""What a codec promises: values to bytes and back, known by a content type."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

__all__ = ["Codec", "Decoder", "Encoder"]

Encoder = Callable[[Any], bytes]
"""Writes one value; raises CodecError when it cannot."""

Decoder = Callable[[bytes], Any]
"""Reads one value; raises CodecError, with the paths of the fields that do not fit."""


class Codec(ABC):
    """Translates between values of a type and bytes.

    What depends on the type alone is done once, in `encoder` and `decoder`; the functions they
    return run for every message.
    """

    @property
    @abstractmethod
    def content_type(self) -> str:
        """Its name in a `Content-Type` header, for instance `application/json`."""

    @abstractmethod
    def encoder(self, type_: Any) -> Encoder:
        """A function that writes values of `type_`.

        Raises:
            CodecError: this codec cannot write such values.
        """

    @abstractmethod
    def decoder(self, type_: Any) -> Decoder:
        """A function that reads values of `type_`.

        Raises:
            CodecError: this codec cannot read such values.
        """
