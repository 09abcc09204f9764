"""Without the encryption that the settings ask for, a client sends no credentials."""

from __future__ import annotations

from pathlib import Path

import pytest

from micro.errors import ConfigError
from tests.faults.access import USAGE, Options, guarded, points, refused
from tests.faults.clock import lasts, succeeds
from tests.faults.load import client_of
from tests.faults.proxy import Proxy, run_proxy
from tests.identities import Authority, issue

SECRET = "s3cretive"
LOGIN = {"user": "ann", "password": SECRET}
USERS = f"authorization {{ user: ann, password: {SECRET} }}\n"
BOUND = 5.0  # seconds, the default of connect_timeout


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The authority `ca` in the folder of a test, which has signed `server`."""
    authority = issue(tmp_path, "ca", None)
    issue(tmp_path, "server", authority)
    return authority


def encrypted(folder: Path, more: str = "") -> str:
    files = f'cert_file: "{folder}/server.pem", key_file: "{folder}/server.key"'
    return f'{USERS} tls {{ {files}, ca_file: "{folder}/ca.pem" {more} }}'


def overhear(proxy: Proxy) -> bytearray:
    """Everything that crosses the network from now on."""
    heard = bytearray()
    forward = proxy._forward

    async def listening(data, sink):
        heard.extend(data)
        await forward(data, sink)

    proxy._forward = listening
    return heard


class Setting:
    """A server, what its clients are told, and what the network does."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder = folder
        self.authority = authority
        self.config = encrypted(folder)
        self.options: Options = {**LOGIN, "tls_ca": str(folder / "ca.pem")}

    def stranger(self, proxy: Proxy) -> None:
        issue(self.folder, "stranger", None)
        self.options = {**LOGIN, "tls_ca": str(self.folder / "stranger.pem")}

    def unknown(self, proxy: Proxy) -> None:
        self.options = LOGIN

    def expired(self, proxy: Proxy) -> None:
        issue(self.folder, "server", self.authority, days=-1)

    def elsewhere(self, proxy: Proxy) -> None:
        issue(self.folder, "server", self.authority, host="127.0.0.9")

    def nameless(self, proxy: Proxy) -> None:
        self.config = encrypted(self.folder, ", verify: true")

    def plain(self, proxy: Proxy) -> None:
        self.config = USERS

    def stripped(self, proxy: Proxy) -> None:
        proxy.change = lambda data: data.replace(b'"tls_required":true', b'"tls_required":false')


@pytest.mark.parametrize(
    ("kind", "fault", "reason"),
    [
        ("stranger", "certificate is of another authority", "certificate verify failed"),
        pytest.param(
            "unknown",
            "certificate is of an authority that was not configured",
            "verify failed",
            marks=pytest.mark.slow,
        ),
        ("expired", "certificate has expired", "certificate has expired"),
        ("elsewhere", "certificate is for another host", "IP address mismatch"),
        ("nameless", "wish for a client's certificate is not met", "wants a client's certificate"),
        ("plain", "connection is plain where TLS is wanted", "TLS was asked for"),
        ("stripped", "offer of TLS is taken out by the network", "TLS was asked for"),
    ],
)
async def test_without_the_wanted_encryption_no_credentials_are_sent(
    tmp_path, authority, verdict, caplog, kind, fault, reason
) -> None:
    row = verdict(
        f"The server's {fault}",
        "`ConfigError` within 1 s; the process ends with code 2 and the reason; one try each; no "
        "credentials cross the network in plain text",
    )
    caplog.set_level("DEBUG")
    setting = Setting(tmp_path, authority)
    async with run_proxy("nats://127.0.0.1:1") as proxy:
        getattr(setting, kind)(proxy)
        async with guarded(tmp_path, setting.config) as server:
            proxy.port = server.port
            heard = overhear(proxy)
            told = await refused(proxy, tmp_path, setting.options)

    row.measured = f"{told}; {reason!r}"
    assert type(told.error) is ConfigError
    assert told.seconds < 1.0
    assert told.lifetime < BOUND
    assert told.code == USAGE
    assert reason in told.error.detail
    assert reason in told.last
    assert (told.tries, told.service_tries) == (1, 1)
    assert heard.startswith(b"INFO ")
    assert b"CONNECT" not in heard
    assert SECRET not in heard.decode(errors="replace") + told.log + caplog.text


async def test_the_proxy_sees_a_password_that_is_not_encrypted(tmp_path) -> None:
    async with guarded(tmp_path, USERS) as server, run_proxy(server.address) as proxy:
        heard = overhear(proxy)
        async with client_of(proxy.address, plugins={"nats": LOGIN}) as client:
            await client.flush()

    assert SECRET.encode() in heard


async def test_a_service_outlives_an_expired_certificate(tmp_path, authority, verdict) -> None:
    row = verdict(
        "A server comes back with a certificate that has expired, for 2 s",
        "the process stays up, says why, and backs off (under 5 tries a second); serves within 5 s "
        "of a good certificate; nothing was sent in plain text",
    )
    setting = Setting(tmp_path, authority)
    async with (
        guarded(tmp_path, setting.config) as server,
        run_proxy(server.address) as proxy,
    ):
        heard = overhear(proxy)

        async def restart(days: int) -> None:
            server.kill()
            issue(tmp_path, "server", authority, days=days)
            server.start()
            await server.wait()

        async with (
            points(proxy.address, tmp_path, setting.options) as program,
            client_of(server.address, plugins={"nats": setting.options}) as client,
        ):
            await program.says("ready: points")
            await client.call("points", "Points.Read", {"number": 1})
            await restart(days=-1)
            proxy.accepted.clear()
            await lasts(2.0)
            tries = len(proxy.accepted)
            await program.says("certificate has expired")
            await restart(days=1)
            back = await succeeds(
                lambda: client.call("points", "Points.Read", {"number": 2}, timeout=0.5)
            )
            alive = program.alive

    row.measured = f"{tries} tries in 2 s, served {back:.2f} s after"
    assert alive
    assert tries < 10
    assert back < 5.0
    assert b"CONNECT" not in heard
