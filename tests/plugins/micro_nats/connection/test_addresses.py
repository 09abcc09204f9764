from __future__ import annotations

import re

import pytest

from micro.errors import ConfigError
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


SECRETS = [
    "s3cr,et",
    "s3,cr,et",
    "s3cr@t,x",
    "s3cr/et",
    "12/s3cret",
    "s3cr?et",
    "s3cr#et",
    "s3cr[et",
    "s3cr et",
    "s3cr]et",
    "s3cr\\et",
    "12,s3cret",
]


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

    assert not [part for part in re.split(r"[^a-z0-9]", secret) if len(part) > 1 and part in shown]


@pytest.mark.parametrize("secret", ["s3cr,et", "s3cr/et", "12/s3cret", "s3cr#et", "s3cr[et"])
def test_the_error_says_what_to_do_about_a_secret(secret: str) -> None:
    with pytest.raises(ConfigError, match="percent-encode"):
        parse_addresses([f"nats://ann:{secret}@host:4222"])


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_secret_is_no_path_of_a_websocket(scheme: str) -> None:
    with pytest.raises(ConfigError, match="percent-encode"):
        parse_addresses([f"{scheme}://ann:12/s3cret@host:80"])


def test_a_secret_may_hold_all_characters_percent_encoded() -> None:
    [server] = parse_addresses(["nats://ann:a%2Cb%2Fc%40d%23e@host"])

    assert server.password == "a,b/c@d#e"
