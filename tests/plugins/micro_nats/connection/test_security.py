"""Credentials, TLS and WebSocket connections."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from micro.backend import BackendOptions, ConnectionState
from micro.errors import ConfigError, ConnectionLost, Unauthorized
from micro_nats.connection.connection import open_connection
from micro_nats.devserver import NatsServer, run_server
from tests.identities import Operator, issue, user_key
from tests.plugins.micro_nats.helpers import Events


@asynccontextmanager
async def serving(folder: Path, config: str) -> AsyncIterator[NatsServer]:
    path = folder / "server.conf"
    path.write_text(config)
    async with run_server(config=path) as server:
        yield server


async def connect(address: str, **driver: object) -> None:
    options = BackendOptions(addresses=(address,), driver=driver, connect_timeout=3)
    async with open_connection(options) as connection:
        await connection.check()


class TestCredentials:
    async def test_user_and_password(self, tmp_path: Path) -> None:
        async with serving(tmp_path, 'authorization { user: ann, password: "s3:c@et" }') as server:
            await connect(server.address, user="ann", password="s3:c@et")
            await connect(server.address.replace("//", "//ann:s3%3Ac%40et@"))
            with pytest.raises(Unauthorized) as told:
                await connect(server.address, user="ann", password="wr0ng")
            with pytest.raises(Unauthorized):
                await connect(server.address)

        assert "wr0ng" not in str(told.value)

    async def test_a_token(self, tmp_path: Path) -> None:
        async with serving(tmp_path, 'authorization { token: "t0ken" }') as server:
            await connect(server.address, token="t0ken")
            await connect(server.address.replace("//", "//t0ken@"))
            with pytest.raises(Unauthorized):
                await connect(server.address, token="wr0ng")

    async def test_a_file_with_an_nkey_seed(self, tmp_path: Path) -> None:
        seed, public = user_key(1)
        path = tmp_path / "user.nk"
        path.write_text(seed + "\n")
        config = f"authorization {{ users: [ {{ nkey: {public} }} ] }}"
        async with serving(tmp_path, config) as server:
            await connect(server.address, nkeys_seed=str(path))
            path.write_text(user_key(2)[0])
            with pytest.raises(Unauthorized):
                await connect(server.address, nkeys_seed=str(path))

    async def test_a_file_with_a_jwt_and_its_seed(self, tmp_path: Path) -> None:
        operator = Operator()
        path = tmp_path / "user.creds"
        path.write_text(operator.credentials(600)[0])
        async with serving(tmp_path, operator.config) as server:
            await connect(server.address, user_credentials=str(path))
            with pytest.raises(Unauthorized):
                await connect(server.address)

    async def test_new_credentials_are_read_at_the_next_try(self, tmp_path: Path) -> None:
        (old, old_public), (new, new_public) = user_key(1), user_key(2)
        path = tmp_path / "user.nk"
        path.write_text(old)
        template = "authorization { users: [ { nkey: %s } ] }"
        events = Events()
        async with serving(tmp_path, template % old_public) as server:
            options = BackendOptions(
                addresses=(server.address,),
                driver={"nkeys_seed": str(path), "reconnect_wait_max": 0.2},
                on_event=events,
            )
            async with open_connection(options) as connection:
                server.kill()
                (tmp_path / "server.conf").write_text(template % new_public)
                server.start()
                await events.wait_for(ConnectionState.ERROR)
                path.write_text(new)
                await connection.wait_connected(10)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, what it has signed, and another authority."""
    folder = tmp_path_factory.mktemp("pki")
    authority = issue(folder, "ca", None)
    issue(folder, "server", authority)
    issue(folder, "client", authority)
    issue(folder, "stranger", None)
    return folder


@asynccontextmanager
async def speaking_tls(pki: Path, version: ssl.TLSVersion) -> AsyncIterator[tuple[str, list[str]]]:
    """A peer that speaks this version of TLS and no later one; its address, and what was spoken."""
    spoken: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "server.pem", pki / "server.key")
    # OpenSSL's own floor is lowered, so that only the client's is tested.
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = context.maximum_version = version

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        spoken.append(writer.get_extra_info("ssl_object").version())
        writer.write(b'INFO {"server_id":"old","max_payload":1048576,"headers":true}\r\n')
        while line := await reader.readline():
            if line == b"PING\r\n":
                writer.write(b"PONG\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context) as server:
        yield f"tls://127.0.0.1:{server.sockets[0].getsockname()[1]}", spoken


class TestTls:
    def config(self, pki: Path, more: str = "") -> str:
        return (
            f'tls {{ cert_file: "{pki}/server.pem", key_file: "{pki}/server.key", '
            f'ca_file: "{pki}/ca.pem" \n{more} }}'
        )

    async def test_a_server_of_a_known_authority(self, pki: Path, tmp_path: Path) -> None:
        async with serving(tmp_path, self.config(pki)) as server:
            secure = server.address.replace("nats", "tls")
            await connect(secure, tls_ca=str(pki / "ca.pem"))
            await connect(server.address, tls_ca=str(pki / "ca.pem"))
            with pytest.raises(ConfigError, match="TLS failed"):
                await connect(secure, tls_ca=str(pki / "stranger.pem"))
            with pytest.raises(ConfigError, match="TLS failed"):
                await connect(secure)
            with pytest.raises(ConfigError, match="TLS failed"):
                await connect(secure, tls_ca=str(pki / "ca.pem"), tls_hostname="elsewhere")

    async def test_a_client_must_show_its_own_certificate(self, pki: Path, tmp_path: Path) -> None:
        async with serving(tmp_path, self.config(pki, "verify: true")) as server:
            ca = str(pki / "ca.pem")
            await connect(
                server.address,
                tls_ca=ca,
                tls_cert=str(pki / "client.pem"),
                tls_key=str(pki / "client.key"),
            )
            # The server's own error is usually lost with the connection.
            for _ in range(10):
                with pytest.raises(ConfigError, match="wants a client's certificate"):
                    await connect(server.address, tls_ca=ca)
            with pytest.raises(ConfigError, match="verify failed"):
                await connect(server.address, tls_ca=str(pki / "stranger.pem"))

    async def test_the_handshake_may_come_first(self, pki: Path, tmp_path: Path) -> None:
        async with serving(tmp_path, self.config(pki, "handshake_first: true")) as server:
            await connect(
                server.address.replace("nats", "tls"),
                tls_ca=str(pki / "ca.pem"),
                tls_handshake_first="true",
            )

    @pytest.mark.parametrize("scheme", ["tls", "nats"])
    async def test_a_password_never_goes_to_a_server_without_tls(
        self, pki: Path, own_server: NatsServer, scheme: str
    ) -> None:
        address = own_server.address.replace("nats", scheme)
        with pytest.raises(ConfigError, match="TLS was asked for"):
            await connect(address, user="a", password="b", tls_ca=str(pki / "ca.pem"))

    async def test_old_versions_of_tls_are_not_spoken(self, pki: Path) -> None:
        driver = {"tls_ca": str(pki / "ca.pem"), "tls_handshake_first": "true"}
        async with speaking_tls(pki, ssl.TLSVersion.TLSv1_2) as (address, spoken):
            await connect(address, **driver)
            assert spoken == ["TLSv1.2"]
        async with speaking_tls(pki, ssl.TLSVersion.TLSv1_1) as (address, spoken):
            # A peer that ends the handshake may be seen as a reset connection only.
            with pytest.raises((ConfigError, ConnectionLost)):
                await connect(address, **driver)

        assert spoken == []

    async def test_an_expired_certificate_is_refused(self, tmp_path: Path) -> None:
        issue(tmp_path, "server", issue(tmp_path, "ca", None), days=-1)
        async with serving(tmp_path, self.config(tmp_path)) as server:
            with pytest.raises(ConfigError, match="expired"):
                await connect(server.address, tls_ca=str(tmp_path / "ca.pem"))


@pytest.mark.filterwarnings("ignore:parameter 'timeout'")  # nats-py's call of aiohttp
class TestWebSocket:
    async def test_it_carries_everything_and_reconnects(self, tmp_path: Path) -> None:
        events = Events()
        config = 'websocket { host: "127.0.0.1", port: %d, no_tls: true }'
        async with serving(tmp_path, config % -1) as server:
            address = server.websocket
            options = BackendOptions(addresses=(address,), on_event=events)
            async with open_connection(options) as connection:
                await connection.check()
                payload = b"x" * 200_000
                got: list[bytes] = []
                await connection.subscribe("ws", lambda *m: got.append(m[2]))
                for _ in range(5):
                    connection.publish_now("ws", "", payload)
                await connection.flush()
                assert got == [payload] * 5

                server.kill()
                await events.wait_for(ConnectionState.DISCONNECTED)
                port = int(address.rpartition(":")[2])
                (tmp_path / "server.conf").write_text(config % port)
                server.start()
                await events.wait_for(ConnectionState.RECONNECTED)
                connection.publish_now("ws", "", b"again")
                await connection.flush()

        assert got[-1] == b"again"
