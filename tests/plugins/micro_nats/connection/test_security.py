"""Who may connect, and over what."""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nkeys
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from micro.backend import BackendOptions, ConnectionState
from micro.errors import ConfigError, Unauthorized
from micro_nats.connection.connection import open_connection
from micro_nats.devserver import NatsServer, run_server
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
        seed, public = _user_key(1)
        path = tmp_path / "user.nk"
        path.write_text(seed + "\n")
        config = f"authorization {{ users: [ {{ nkey: {public} }} ] }}"
        async with serving(tmp_path, config) as server:
            await connect(server.address, nkeys_seed=str(path))
            path.write_text(_user_key(2)[0])
            with pytest.raises(Unauthorized):
                await connect(server.address, nkeys_seed=str(path))

    async def test_a_file_with_a_jwt_and_its_seed(self, tmp_path: Path) -> None:
        config, creds = _operator()
        path = tmp_path / "user.creds"
        path.write_text(creds)
        async with serving(tmp_path, config) as server:
            await connect(server.address, user_credentials=str(path))
            with pytest.raises(Unauthorized):
                await connect(server.address)

    async def test_new_credentials_are_read_at_the_next_try(self, tmp_path: Path) -> None:
        (old, old_public), (new, new_public) = _user_key(1), _user_key(2)
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
    """An authority, what it has signed, and somebody else."""
    folder = tmp_path_factory.mktemp("pki")
    authority = _issue(folder, "ca", None)
    _issue(folder, "server", authority)
    _issue(folder, "client", authority)
    _issue(folder, "stranger", None)
    return folder


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
            # What the server says of it is lost with the connection, more often than not.
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

    async def test_old_versions_of_tls_are_not_spoken(self, pki: Path, tmp_path: Path) -> None:
        config = self.config(pki, 'min_version: "1.2"')
        async with serving(tmp_path, config) as server:
            context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
            await connect(server.address, tls=context)

    async def test_an_expired_certificate_is_refused(self, pki: Path, tmp_path: Path) -> None:
        _issue(tmp_path, "server", _load(pki, "ca"), days=-1)
        config = self.config(pki).replace(f"{pki}/server", f"{tmp_path}/server")
        async with serving(tmp_path, config) as server:
            with pytest.raises(ConfigError, match="expired"):
                await connect(server.address, tls_ca=str(pki / "ca.pem"))


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


def _user_key(number: int) -> tuple[str, str]:
    pair = nkeys.from_seed(_seed(nkeys.PREFIX_BYTE_USER, number))
    return bytes(pair.seed).decode(), pair.public_key.decode()


def _seed(kind: int, number: int) -> bytearray:
    return bytearray(nkeys.encode_seed(hashlib.sha256(b"%d" % number).digest(), kind))


def _operator() -> tuple[str, str]:
    """A server's configuration with an operator and an account, and a user's credentials."""
    operator = nkeys.from_seed(_seed(nkeys.PREFIX_BYTE_OPERATOR, 1))
    account = nkeys.from_seed(_seed(nkeys.PREFIX_BYTE_ACCOUNT, 2))
    user = nkeys.from_seed(_seed(nkeys.PREFIX_BYTE_USER, 3))
    limits = dict.fromkeys(("subs", "conn", "leaf", "imports", "exports", "data", "payload"), -1)
    operator_jwt = _jwt(operator, operator, {"type": "operator"})
    account_jwt = _jwt(
        operator, account, {"type": "account", "limits": {**limits, "wildcards": True}}
    )
    user_jwt = _jwt(account, user, {"type": "user", "subs": -1, "data": -1, "payload": -1})
    public = account.public_key.decode()
    config = (
        f"operator: {operator_jwt}\nresolver: MEMORY\n"
        f"resolver_preload: {{ {public}: {account_jwt} }}\n"
    )
    creds = (
        f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{bytes(user.seed).decode()}\n"
        "------END USER NKEY SEED------\n"
    )
    return config, creds


def _jwt(issuer: nkeys.KeyPair, subject: nkeys.KeyPair, claims: dict[str, object]) -> str:
    body: dict[str, object] = {
        "iat": int(time.time()),
        "iss": issuer.public_key.decode(),
        "sub": subject.public_key.decode(),
        "name": str(claims["type"]),
        "nats": {**claims, "version": 2},
    }
    digest = hashlib.new("sha512_256", json.dumps(body).encode()).digest()
    body["jti"] = base64.b32encode(digest).decode().rstrip("=")
    head = _part(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
    signed = f"{head}.{_part(json.dumps(body).encode())}"
    return f"{signed}.{_part(issuer.sign(signed.encode()))}"


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


Authority = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def _issue(folder: Path, name: str, authority: Authority | None, days: int = 2) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signer = (authority[0].subject, authority[1]) if authority else (subject, key)
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=5))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), True)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            False,
        )
        .sign(signer, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, key


def _load(folder: Path, name: str) -> Authority:
    certificate = x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
    key = serialization.load_pem_private_key((folder / f"{name}.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return certificate, key
