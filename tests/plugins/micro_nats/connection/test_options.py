from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from micro.backend import BackendOptions
from micro.errors import ConfigError
from micro_nats.connection.options import ConnectOptions, read_options


def settings(**driver: object) -> ConnectOptions:
    return read_options(BackendOptions(driver=driver))


def test_text_becomes_what_nats_py_wants() -> None:
    connect = settings(
        no_echo="true", ping_interval="20", max_outstanding_pings="3", tls_hostname="a"
    ).connect

    assert connect["no_echo"] is True
    assert connect["ping_interval"] == 20
    assert connect["max_outstanding_pings"] == 3
    assert connect["tls_hostname"] == "a"


def test_typed_values_stay_as_they_are() -> None:
    context = ssl.create_default_context()
    connect = settings(tls=context, pedantic=False, ping_interval=0.5).connect

    assert connect["tls"] is context
    assert connect["pedantic"] is False
    assert connect["ping_interval"] == 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("no_echo", "maybe"),
        ("ping_interval", "soon"),
        ("ping_interval", 0),
        ("connect_timeout", -1),
        ("connect_timeout", "inf"),
        ("connect_timeout", float("nan")),
        ("reconnect_wait_max", "x"),
        ("inbox_prefix", "a..b"),
        ("inbox_prefix", "a.>"),
        ("tls_ca", "/nowhere/ca.pem"),
        ("tls_cert", "/nowhere/cert.pem"),
        ("user", "ann"),
        ("servers", "x"),
        ("closed_cb", None),
        ("nonsense", 1),
    ],
)
def test_a_bad_option_is_named(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        settings(**{name: value})


def test_secrets_are_not_shown() -> None:
    text = repr(settings(user="ann", password="s3cret"))

    assert "s3cret" not in text


async def test_credentials_in_an_address_come_first() -> None:
    read = read_options(
        BackendOptions(
            addresses=("bob:pw@a", "tok@b", "c"), driver={"user": "ann", "password": "x"}
        )
    )
    one, two, three = [await read.arguments(server) for server in read.servers]

    assert (one["user"], one["password"]) == ("bob", "pw")
    assert two["token"] == "tok"
    assert three["user"] == "ann"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("user_credentials", ""),
        ("user_credentials", "no marks\n"),
        ("user_credentials", "-----BEGIN NATS USER JWT-----\nx\n"),
        ("user_credentials", "-----BEGIN NATS USER JWT-----\n"),
        ("nkeys_seed", ""),
        ("nkeys_seed", "SAAPRIVATE"),
        ("nkeys_seed", "SU A B"),
    ],
)
async def test_a_file_of_credentials_is_looked_at(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / "secret"
    path.write_text(content)
    read = settings(**{name: str(path)})
    with pytest.raises(ConfigError, match=name):
        await read.arguments(read.servers[0])


@pytest.mark.parametrize("name", ["user_credentials", "nkeys_seed"])
async def test_a_missing_file_of_credentials_is_named(tmp_path: Path, name: str) -> None:
    read = settings(**{name: str(tmp_path / "missing")})
    with pytest.raises(ConfigError, match="missing"):
        await read.arguments(read.servers[0])


@pytest.mark.parametrize("name", ["user_credentials", "nkeys_seed"])
@pytest.mark.parametrize(
    "secret",
    [
        "SUAIBDPBAUTWCWBKIO6XHQNINK5FWJW4OHLXC3HQ2KFE4PEJUA44CNHTC4",
        "-----BEGIN NATS USER JWT-----\neyJ0eXAi\n------END NATS USER JWT------\n",
    ],
)
async def test_a_secret_in_place_of_its_file_is_not_shown(name: str, secret: str) -> None:
    read = settings(**{name: secret})
    with pytest.raises(ConfigError, match=name) as told:
        await read.arguments(read.servers[0])

    assert not [line for line in secret.split("\n") if line and line in str(told.value)]


@pytest.mark.parametrize("name", ["ping_interval", "dont_randomize", "reconnect_wait_max"])
def test_a_secret_given_to_another_option_is_not_shown(name: str) -> None:
    with pytest.raises(ConfigError, match=name) as told:
        settings(**{name: "s3cret"})

    assert "s3cret" not in str(told.value)
