from __future__ import annotations

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


def test_lists_are_parted_by_commas_and_blanks_do_not_count() -> None:
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
def test_what_cannot_be_an_address_is_named_without_its_secret(text: str) -> None:
    with pytest.raises(ConfigError) as told:
        parse_addresses([text])

    assert "s3cret" not in str(told.value)


def test_websocket_and_plain_addresses_do_not_mix() -> None:
    with pytest.raises(ConfigError, match="mixed"):
        parse_addresses(["ws://a", "nats://b"])
