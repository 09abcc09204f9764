from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from micro.errors import ConfigError
from micro.settings.load import Settings, load_settings
from micro_nats.connection.addresses import parse_addresses


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", "nats://127.0.0.1:4222"),
        ("localhost", "nats://localhost:4222"),
        ("10.0.0.1:4333", "nats://10.0.0.1:4333"),
        ("nats://a.b", "nats://a.b:4222"),
        ("tls://a.b:1", "tls://a.b:1"),
        ("ws://a.b", "ws://a.b:80"),
        ("wss://a.b/nats/", "wss://a.b:443/nats"),
        ("[::1]:4222", "nats://[::1]:4222"),
        ("nats://ann:s3cret@a:1", "nats://a:1"),
    ],
)
def test_an_address_becomes_a_url_without_credentials(text: str, url: str) -> None:
    assert [server.url for server in parse_addresses([text])] == [url]


def test_lists_are_separated_by_commas_and_spaces_do_not_count() -> None:
    servers = parse_addresses(["a, b:1 ,", "tls://c"])

    assert [s.url for s in servers] == ["nats://a:4222", "nats://b:1", "tls://c:4222"]


def test_credentials_are_read_and_never_shown() -> None:
    user, token, plain = parse_addresses(["ann:s3%40ret@a", "t0ken@a", "a"])

    assert (user.user, user.password) == ("ann", "s3@ret")
    assert (token.user, token.password) == ("t0ken", None)
    assert (plain.user, plain.password) == (None, None)
    assert "s3" not in repr(user)
    assert "t0ken" not in repr(token)


@pytest.mark.parametrize(
    "text",
    [
        "http://a",
        "nats://",
        "a:b",
        "a:99999",
        "a b",
        "nats://a/path",
        "a?x=1",
        "://a",
        "nats://a\r\nb",
        "ann:s3cret@http://x:1:2",
    ],
)
def test_an_unusable_address_is_named_without_its_secret(text: str) -> None:
    with pytest.raises(ConfigError) as told:
        parse_addresses([text])

    assert "s3cret" not in str(told.value)


def test_websocket_and_plain_addresses_do_not_mix() -> None:
    with pytest.raises(ConfigError, match="mixed"):
        parse_addresses(["ws://a", "nats://b"])


# Their parts occur in no error, path or name.
SECRETS = [
    "k7vx,zq9",
    "k7,wj8,zq9",
    "k7vx@t,x",
    "k7vx/zq9",
    "12/k7vxzq9",
    "k7vx?zq9",
    "k7vx#zq9",
    "k7vx[zq9",
    "k7vx zq9",
    "k7vx]zq9",
    "k7vx\\zq9",
    "12,k7vxzq9",
    "k7vx@zq9,hh4",
    "k7,wj8@zq9,hh4",
    "k7vx@zq9/hh4",
    "k7vx@zq9#hh4",
    "k7vx@zq9?hh4",
    "k7vx@zq9 hh4",
    "k7vx:zq9",
    "k7vx@12:zq9",
    "k7vx,zq9://hh4",
    "k7vx%zzzq9",
]


def parts_shown(secret: str, shown: str) -> list[str]:
    """The parts of a secret, cut at special characters, that are in what is shown."""
    return [part for part in re.split(r"[^a-z0-9]", secret) if len(part) > 1 and part in shown]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("form", ["nats://ann:{}@host:4222", "ann:{}@host", "tls://{}@host:1"])
def test_no_part_of_a_secret_is_shown(form: str, secret: str) -> None:
    shown = ""
    try:
        servers = parse_addresses([form.format(secret)])
    except ConfigError as error:
        shown = str(error)
    else:
        shown = " ".join(server.url for server in servers) + repr(servers)

    assert not parts_shown(secret, shown)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name holds no parameter of the test, for errors that name a file."""
    return tmp_path_factory.mktemp("settings")


def from_argument(text: str, folder: Path) -> Settings:
    return load_settings((), {}, overrides={"transport_address": text})


def from_code(text: str, folder: Path) -> Settings:
    return Settings(transport_address=text)


def from_flag(text: str, folder: Path) -> Settings:
    return load_settings([f"--transport_address={text}"], {})


def from_table_flag(text: str, folder: Path) -> Settings:
    return load_settings(["--nats-address", text], {})


def from_variable(text: str, folder: Path) -> Settings:
    return load_settings((), {"MICRO_TRANSPORT_ADDRESS": text})


def from_file(text: str, folder: Path) -> Settings:
    path = folder / "micro.toml"
    path.write_text(f"transport_address = {json.dumps(text)}")
    return load_settings(("--config", str(path)), {})


def from_list_of_a_file(text: str, folder: Path) -> Settings:
    path = folder / "micro.toml"
    path.write_text(f"[nats]\naddress = [{json.dumps(text)}]")
    return load_settings(("--config", str(path)), {})


@pytest.mark.parametrize(
    "source",
    [
        from_argument,
        from_code,
        from_flag,
        from_table_flag,
        from_variable,
        from_file,
        from_list_of_a_file,
    ],
)
@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("form", ["ann:{}@host", "b,nats://{}@host:1"])
def test_no_source_of_settings_shows_a_part_of_a_secret(
    folder: Path, source: Callable[[str, Path], Settings], form: str, secret: str
) -> None:
    try:
        settings = source(form.format(secret), folder)
        servers = parse_addresses(settings.addresses("transport"))
    except ConfigError as error:
        shown = str(error).replace(str(folder), "")  # it may have such digits
        assert "percent-encode" in shown
    else:
        shown = " ".join(server.url for server in servers) + repr(servers)

    assert not parts_shown(secret, shown)


@pytest.mark.parametrize(
    "secret",
    ["s3cr,et", "s3cr@et,abc", "s3cr@et/abc", "s3cr/et", "12/s3cret", "s3cr#et", "s3cr[et"],
)
def test_the_error_says_what_to_do_about_a_secret(secret: str) -> None:
    with pytest.raises(ConfigError, match="percent-encode"):
        parse_addresses([f"nats://ann:{secret}@host:4222"])


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_secret_is_no_path_of_a_websocket(scheme: str) -> None:
    with pytest.raises(ConfigError, match="percent-encode"):
        parse_addresses([f"{scheme}://ann:12/s3cret@host:80"])


@pytest.mark.parametrize(
    "text", ["ann:s3cret", "nats://ann:s3cret", "nats://ann@example.com:s3cret", "nats://a:s3cret/"]
)
def test_a_secret_without_a_host_is_not_shown(text: str) -> None:
    with pytest.raises(ConfigError) as told:
        parse_addresses([text])

    assert "s3cret" not in str(told.value)


def test_addresses_with_credentials_are_told_apart_by_their_schemes(tmp_path: Path) -> None:
    text = "ann:p1@a,nats://bob:p2@b,c"
    servers = parse_addresses(from_flag(text, tmp_path).addresses("transport"))

    assert [(server.host, server.password) for server in servers] == [
        ("a", "p1"),
        ("b", "p2"),
        ("c", None),
    ]


def test_a_secret_may_hold_all_characters_percent_encoded() -> None:
    [server] = parse_addresses(["nats://ann:a%2Cb%2Fc%40d%23e@host"])

    assert server.password == "a,b/c@d#e"
