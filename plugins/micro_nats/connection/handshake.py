"""Connects and authenticates with nats-py, and hands over the open connection.

nats-py knows every way to log in. Its reading, writing and reconnecting are not used: one malformed
message can stop its reader permanently. This is the only module that uses nats-py's private names.
The version is capped, and `tests/plugins/micro_nats/connection/test_handshake.py` is the contract.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client

from micro.errors import ConfigError, ConnectionLost
from micro.scope import Scope
from micro_nats.connection.byte_stream import ByteStream, TcpStream
from micro_nats.connection.websocket import WebSocketStream

__all__ = ["Greeting", "greet"]

_PONG = b"PONG\r\n"
_MAX_EARLY_BYTES = 64 << 10
_CLOSE_SECONDS = 0.5
_NO_CERTIFICATE = "TLS failed: the server wants a client's certificate: set tls_cert and tls_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """An open and authenticated connection.

    Attributes:
        stream: Its bytes; the reading has not begun.
        info: What the server said of itself.
    """

    stream: ByteStream
    info: dict[str, Any] = field(repr=False)


async def greet(
    url: str, options: Mapping[str, Any], *, scope: Scope, certified: bool = False
) -> Greeting:
    """Connect to one server, once; a failure leaves nothing open.

    Args:
        url: The server, without credentials.
        options: Arguments of nats-py's `connect`.
        scope: Where the tasks of a WebSocket run.
        certified: Whether the options hold a certificate of the client.

    Raises:
        ConfigError: TLS was asked for and is not offered, or a certificate is missing.
        Exception: what nats-py, the TLS library or the system raised.
    """
    handshake = _Handshake(url, scope)
    try:
        return await handshake.run(options)
    except BaseException as error:
        await handshake.discard()
        if not certified and handshake.lacks_certificate(error):
            raise ConfigError(_NO_CERTIFICATE) from error
        raise


class _Handshake:
    """One nats-py client, some of whose methods are replaced; it does not outlive `run`."""

    def __init__(self, url: str, scope: Scope) -> None:
        self._url = url
        self._scope = scope
        self._websocket = url.startswith("ws")
        self._early = b""
        # Any: nats-py's private names have no types.
        self._client: Any = Client()
        self._write_connect = self._client._connect_command
        replacements = {
            "_connect_command": self._check_and_write_connect,
            "_select_next_server": self._connect_once,
            "_read_loop": _do_nothing,
            "_ping_interval": _do_nothing,
            "_flusher": _do_nothing,
        }
        for name, method in replacements.items():
            setattr(self._client, name, method)

    async def run(self, options: Mapping[str, Any]) -> Greeting:
        client = self._client
        await client.connect(
            servers=[self._url], allow_reconnect=False, error_cb=_ignore, **options
        )
        await asyncio.wait([client._reading_task, client._ping_interval_task, client._flusher_task])
        if client._status != Client.CONNECTED:
            raise ConnectionLost("the server did not answer the greeting")
        return Greeting(stream=await self._take_over(), info=client._server_info)

    async def _take_over(self) -> ByteStream:
        transport = self._client._transport
        if self._websocket:
            return WebSocketStream(transport._ws, transport._client, self._early, self._scope)
        reader, wire = transport._io_reader, transport._io_writer.transport
        if reader.at_eof():
            raise ConnectionLost("the server closed the connection")
        # At its end a reader gives all that it holds without waiting, so no byte comes in between.
        reader.feed_eof()
        left = self._early + await reader.read()
        lower = transport._bare_io_writer.transport
        return TcpStream(wire, left, lower=lower, owner=transport)

    async def discard(self) -> None:
        """Close what was opened."""
        transport = self._client._transport
        if transport is None:
            return
        if self._websocket:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    if transport._ws is not None:
                        await transport._ws.close()
            await transport._client.close()
            return
        for writer in {transport._io_writer, transport._bare_io_writer} - {None}:
            writer.transport.abort()
        # The event loop closes the file descriptor in its next turn.
        await asyncio.sleep(0)

    def lacks_certificate(self, error: BaseException) -> bool:
        """Whether a server closed the connection because the client has no certificate.

        With TLS 1.3 the server checks the certificate after the client's handshake is complete
        (RFC 8446, 4.4), so its alert may be lost with the connection.
        """
        info = self._client._server_info
        broken = isinstance(error, ssl.SSLError | ConnectionError)
        server_refused = isinstance(error, ssl.SSLCertVerificationError)
        wanted = info.get("tls_required") and info.get("tls_verify")
        return bool(wanted) and broken and not server_refused

    # What replaces methods of nats-py's client.

    async def _connect_once(self) -> None:
        """Try the one server once; nats-py would try again for minutes."""
        client = self._client
        client._current_server = client._server_pool[0]
        await client._connect_to_server(client._current_server)
        self._readline = client._transport.readline
        client._transport.readline = self._read_answer

    async def _read_answer(self) -> bytes:
        """Read INFO, and later the answer to PING; the server may send other lines before it."""
        line: bytes = await self._readline()
        if not self._client._server_info:
            return line
        while line and _PONG not in line and b"-ERR" not in line:
            self._early += line
            if len(self._early) > _MAX_EARLY_BYTES:
                raise ConnectionLost("the server did not answer the greeting")
            line = await self._readline()
        before, pong, after = line.partition(_PONG)
        if not pong:
            return line
        self._early += before + after
        return pong

    def _check_and_write_connect(self) -> bytes:
        """Refuse to send credentials in clear text where TLS was asked for."""
        wanted = self._url.startswith(("tls:", "wss:")) or "tls" in self._client.options
        if wanted and not self._is_encrypted():
            raise ConfigError("TLS was asked for and the server does not offer it")
        return bytes(self._write_connect())

    def _is_encrypted(self) -> bool:
        transport = self._client._transport
        if self._websocket:
            return bool(transport._using_tls)
        return transport._io_writer.get_extra_info("ssl_object") is not None


async def _do_nothing() -> None:
    """Stand in for a task of nats-py's."""


async def _ignore(error: Exception) -> None:
    """Ignore what nats-py reports while it connects: it raises it as well."""
    del error
