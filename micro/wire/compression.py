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
from micro.wire.chunks import MAX_BODY_BYTES

__all__ = [
    "ACCEPT_ENCODING",
    "CONTENT_ENCODING",
    "MIN_COMPRESS_BYTES",
    "Compression",
    "decompress",
    "encodings",
]

ACCEPT_ENCODING = "Accept-Encoding"
CONTENT_ENCODING = "Content-Encoding"

MIN_COMPRESS_BYTES = 1024
"""Bytes below which compressing costs more than it saves: the lowest threshold."""

_GZIP_WINDOW_BITS = 31
_LEVEL = 3


class Compression(NamedTuple):
    """How one side compresses.

    Attributes:
        name: `gzip` or `zstd`.
        threshold: Bytes below which a body stays as it is.
    """

    name: str
    threshold: int = MIN_COMPRESS_BYTES

    @classmethod
    def named(cls, name: str, threshold: int = MIN_COMPRESS_BYTES) -> Compression | None:
        """The compression of a setting; `None` for `off`.

        Raises:
            ConfigError: the encoding is not known, or its package is not installed.
        """
        if name == "off":
            return None
        if name not in encodings():
            hint = "; zstd needs `pip install 'micro-rpc[zstd]'`" if name == "zstd" else ""
            raise ConfigError(f"compression {name!r}: choose {' or '.join(encodings())}{hint}")
        return cls(name, max(MIN_COMPRESS_BYTES, threshold))

    def compress(self, headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
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


def decompress(headers: Mapping[str, str], body: bytes) -> bytes:
    """Undo the content encoding of a body.

    Raises:
        BadRequest: with code 415 the encoding is not known here, or the bytes are not in it.
        PayloadTooLarge: it would be over 64 MiB; no more than that is ever taken.
    """
    name = headers[CONTENT_ENCODING]
    if name not in encodings():
        raise BadRequest(f"content encoding {name[:40]!r} is not known here", code=415)
    try:
        whole, done = _decompress_zstd(body) if name == "zstd" else _decompress_gzip(body)
    except (zlib.error, EOFError, ValueError) as error:
        raise BadRequest(f"a body that is not {name}: {error}", refused=True) from None
    if len(whole) > MAX_BODY_BYTES:
        raise PayloadTooLarge(
            f"a body that expands to more than {MAX_BODY_BYTES} bytes", refused=True
        )
    if not done:
        raise BadRequest(f"a body that is cut off in its {name}", refused=True)
    return whole


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW_BITS)
    return compressor.compress(body) + compressor.flush()


def _decompress_gzip(body: bytes) -> tuple[bytes, bool]:
    decompressor = zlib.decompressobj(_GZIP_WINDOW_BITS)
    return decompressor.decompress(body, MAX_BODY_BYTES + 1), decompressor.eof


def _decompress_zstd(body: bytes) -> tuple[bytes, bool]:
    module = _zstd()
    decompressor = module.ZstdDecompressor()
    try:
        whole: bytes = decompressor.decompress(body, MAX_BODY_BYTES + 1)
    except module.ZstdError as error:
        raise ValueError(str(error)) from None
    return whole, bool(decompressor.eof)


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
