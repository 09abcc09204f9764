"""Bodies made smaller by content encoding, between native peers; off unless asked for.

A client that has it switched on says so with `Accept-Encoding`; a server answers in that encoding
and compresses nothing otherwise. Whatever is compressed can be read by both, switched on or not.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

from micro.errors import BadRequest, ConfigError, PayloadTooLarge
from micro.wire.chunks import LARGEST

__all__ = ["ACCEPT_ENCODING", "CONTENT_ENCODING", "LEAST", "Compression", "encodings", "expand"]

ACCEPT_ENCODING = "Accept-Encoding"
CONTENT_ENCODING = "Content-Encoding"

LEAST = 1024
"""Bytes below which compressing costs more than it saves: the lowest threshold."""

_GZIP_WINDOW = 31
_LEVEL = 3


class Compression(NamedTuple):
    """How one side compresses.

    Attributes:
        name: `gzip` or `zstd`.
        threshold: Bytes below which a body stays as it is.
    """

    name: str
    threshold: int = LEAST

    @classmethod
    def named(cls, name: str, threshold: int = LEAST) -> Compression | None:
        """The compression of a setting; `None` for `off`.

        Raises:
            ConfigError: the encoding is not known, or its package is not installed.
        """
        if name == "off":
            return None
        if name not in encodings():
            hint = "; zstd needs `pip install 'micro-rpc[zstd]'`" if name == "zstd" else ""
            raise ConfigError(f"compression {name!r}: choose {' or '.join(encodings())}{hint}")
        return cls(name, max(LEAST, threshold))

    def shrink(self, headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
        """Compress a body unless it is small or grows by it; the headers given stay unchanged."""
        if len(body) < self.threshold:
            return headers, body
        small = _zstd().compress(body, _LEVEL) if self.name == "zstd" else _gzip(body)
        if len(small) >= len(body):
            return headers, body
        return {**headers, CONTENT_ENCODING: self.name}, small


@cache
def encodings() -> tuple[str, ...]:
    """The encodings that this process can read, the best last."""
    return ("gzip", "zstd") if _zstd_module() is not None else ("gzip",)


def expand(headers: Mapping[str, str], body: bytes) -> bytes:
    """Undo the content encoding of a body.

    Raises:
        BadRequest: with code 415 the encoding is not known here, or the bytes are not in it.
        PayloadTooLarge: it would be over 64 MiB; no more than that is ever taken.
    """
    name = headers[CONTENT_ENCODING]
    if name not in encodings():
        raise BadRequest(f"content encoding {name[:40]!r} is not known here", code=415)
    try:
        whole, done = _expand_zstd(body) if name == "zstd" else _expand_gzip(body)
    except (zlib.error, EOFError, ValueError) as error:
        raise BadRequest(f"a body that is not {name}: {error}", refused=True) from None
    if len(whole) > LARGEST:
        raise PayloadTooLarge(f"a body that expands to more than {LARGEST} bytes", refused=True)
    if not done:
        raise BadRequest(f"a body that is cut off in its {name}", refused=True)
    return whole


def _gzip(body: bytes) -> bytes:
    squeeze = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    return squeeze.compress(body) + squeeze.flush()


def _expand_gzip(body: bytes) -> tuple[bytes, bool]:
    stretch = zlib.decompressobj(_GZIP_WINDOW)
    return stretch.decompress(body, LARGEST + 1), stretch.eof


def _expand_zstd(body: bytes) -> tuple[bytes, bool]:
    module = _zstd()
    stretch = module.ZstdDecompressor()
    try:
        whole: bytes = stretch.decompress(body, LARGEST + 1)
    except module.ZstdError as error:
        raise ValueError(str(error)) from None
    return whole, bool(stretch.eof)


@cache
def _zstd_module() -> str | None:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            if find_spec(name) is not None:
                return name
        except ModuleNotFoundError:
            continue
    return None


@cache
def _zstd() -> Any:
    name = _zstd_module()
    assert name is not None, "checked by `encodings`"
    return import_module(name)
