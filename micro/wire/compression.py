"""Bodies made smaller by content encoding, between native peers; off unless asked for.

A client that compresses says so with `Accept-Encoding`; a server answers in that encoding and
compresses nothing otherwise. Both can read compressed bodies, whether they compress or not.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

from micro.errors import BadRequest, ConfigError, PayloadTooLarge
from micro.message import Message
from micro.wire.limits import process_body_limit

__all__ = [
    "ACCEPT_ENCODING",
    "CONTENT_ENCODING",
    "MIN_COMPRESS_BYTES",
    "Compression",
    "EncodedBody",
    "decompress",
    "encoded_body",
    "encodings",
]

ACCEPT_ENCODING = "Accept-Encoding"
CONTENT_ENCODING = "Content-Encoding"

MIN_COMPRESS_BYTES = 1024
"""The lowest threshold: compressing fewer bytes costs more than it saves."""

_GZIP_WINDOW_BITS = 31
_LEVEL = 3
# Ordinary JSON shrinks to a tenth, logs to a hundredth; what shrinks more is made to harm.
_MAX_RATIO = 256
_MIN_ALLOWED_BYTES = 4 << 20


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
        """Compress a body unless it is small, grows by it, or shrinks more than peers accept.

        The headers given stay unchanged.
        """
        if len(body) < self.threshold:
            return headers, body
        small = _zstd().compress(body, _LEVEL) if self.name == "zstd" else _gzip(body)
        if len(small) >= len(body) or len(body) > _allowed(small, process_body_limit().bytes):
            return headers, body
        return {**headers, CONTENT_ENCODING: self.name}, small


class EncodedBody(bytes):
    """A body that is still compressed: it is held like this until it is read.

    Attributes:
        encoding: How.
    """

    encoding: str

    def __new__(cls, body: bytes, encoding: str) -> EncodedBody:
        """Mark a body with its encoding."""
        marked = super().__new__(cls, body)
        marked.encoding = encoding
        return marked

    def expand(self) -> bytes:
        """Undo the encoding; see `decompress`."""
        return decompress({CONTENT_ENCODING: self.encoding}, self)


def encoded_body(message: Message) -> bytes:
    """The body of a message, marked with its content encoding if it has one."""
    encoding = message.headers.get(CONTENT_ENCODING)
    return message.body if encoding is None else EncodedBody(message.body, encoding)


@cache
def encodings() -> tuple[str, ...]:
    """The encodings that this process can read, the best last."""
    return ("gzip", "zstd") if _zstd_module() is not None else ("gzip",)


def decompress(headers: Mapping[str, str], body: bytes, *, limit: int | None = None) -> bytes:
    """Undo the content encoding of a body.

    Args:
        headers: The message's.
        body: The compressed body.
        limit: The largest body, in bytes, after it; that of the process when not given.

    Raises:
        BadRequest: with code 415 the encoding is not known here, or the bytes are not in it.
        PayloadTooLarge: it would be over the limit, or over 4 MiB and 256 times its size; no more
            than that is decompressed.
    """
    name = headers[CONTENT_ENCODING]
    if name not in encodings():
        raise BadRequest(f"content encoding {name[:40]!r} is not known here", code=415)
    allowed = _allowed(body, limit or process_body_limit().bytes)
    try:
        read = _decompress_zstd if name == "zstd" else _decompress_gzip
        whole, done = read(body, allowed + 1)
    except (zlib.error, EOFError, ValueError) as error:
        raise BadRequest(f"a body that is not {name}: {error}", refused=True) from None
    if len(whole) > allowed:
        raise PayloadTooLarge(
            f"{len(body)} compressed bytes that expand to more than {allowed}", refused=True
        )
    if not done:
        raise BadRequest(f"a body that is cut off in its {name}", refused=True)
    return whole


def _allowed(compressed: bytes, limit: int) -> int:
    return min(limit, max(_MIN_ALLOWED_BYTES, len(compressed) * _MAX_RATIO))


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW_BITS)
    return compressor.compress(body) + compressor.flush()


def _decompress_gzip(body: bytes, most: int) -> tuple[bytes, bool]:
    decompressor = zlib.decompressobj(_GZIP_WINDOW_BITS)
    return decompressor.decompress(body, most), decompressor.eof


def _decompress_zstd(body: bytes, most: int) -> tuple[bytes, bool]:
    module = _zstd()
    decompressor = module.ZstdDecompressor()
    try:
        whole: bytes = decompressor.decompress(body, most)
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
