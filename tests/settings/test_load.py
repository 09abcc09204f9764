"""Settings: every name in every source, the order of precedence, and what bad input gets."""

from __future__ import annotations

import copy
import math

import pytest

from micro.errors import ConfigError
from micro.settings.load import OPTIONS, Settings, load_settings, settings_help, variable_hints

# Every flag of go-micro's that names a part we have, with ours: text, and what becomes of it.
GIVEN = {
    "transport": ("memory", "memory"),
    "transport_address": ("a:1, b:2", ("a:1", "b:2")),
    "broker": ("memory", "memory"),
    "broker_address": ("c:1", ("c:1",)),
    "registry": ("memory", "memory"),
    "registry_address": ("d:1", ("d:1",)),
    "selector": ("Random", "random"),
    "server_name": ("shop.points", "shop.points"),
    "server_version": ("1.2.3", "1.2.3"),
    "server_id": ("one", "one"),
    "server_address": ("inbox.one", "inbox.one"),
    "server_metadata": ("zone=a,rack=7", {"zone": "a", "rack": "7"}),
    "register_ttl": ("2m", 120.0),
    "register_interval": ("500ms", 0.5),
    "client_request_timeout": ("1m30s", 90.0),
    "client_retries": ("0", 0),
    "client_content_type": ("application/msgpack", "application/msgpack"),
    "shutdown_timeout": ("0", 0.0),
    "connect_timeout": ("1.5", 1.5),
    "max_concurrency": ("1", 1),
    "max_queue": ("0", 0),
    "max_streams": ("7", 7),
    "max_body": ("1MiB", 1 << 20),
    "memory_budget": ("2GiB", 2 << 30),
    "threads": ("3", 3),
    "server_timeout": ("90s", 90.0),
    "subscriber_max_concurrency": ("1", 1),
    "subscriber_max_queue": ("0", 0),
    "subscriber_timeout": ("0", 0.0),
    "start_timeout": ("2m", 120.0),
    "access_log": ("true", True),
    "compression": ("gzip", "gzip"),
    "compression_threshold": ("4096", 4096),
    "health_address": ("127.0.0.1:8080", "127.0.0.1:8080"),
    "metrics_address": ("127.0.0.1:9090", "127.0.0.1:9090"),
    "stall_threshold": ("0", 0.0),
    "on_drift": ("fail", "fail"),
    "allow_unbounded": ("true", True),
    "log_level": ("WARN", "warning"),
    "log_format": ("json", "json"),
}


def load(*argv, environ=None, **overrides):
    return load_settings(argv, environ or {}, overrides=overrides)


def refusal(*argv, environ=None, **overrides):
    with pytest.raises(ConfigError) as caught:
        load(*argv, environ=environ, **overrides)
    assert "\n" not in caught.value.detail
    return caught.value.detail


@pytest.fixture
def toml(tmp_path):
    path = tmp_path / "micro.toml"

    def write(text):
        path.write_text(text)
        return str(path)

    return write


def test_every_setting_has_an_example_here() -> None:
    assert {option.name for option in OPTIONS} == {*GIVEN, "config"}


@pytest.mark.parametrize("name", GIVEN)
def test_every_setting_works_as_flag_variable_key_and_argument(name, toml) -> None:
    text, value = GIVEN[name]
    dashed = name.replace("_", "-")
    path = toml(f'{name} = "{text}"')

    if value is not True:
        assert getattr(load(f"--{name}", text), name) == value
    assert getattr(load(f"--{dashed}={text}"), name) == value
    assert getattr(load(environ={f"MICRO_{name.upper()}": text}), name) == value
    assert getattr(load("--config", path), name) == value
    assert getattr(load(**{name: text}), name) == value
    assert f"--{dashed}" in settings_help().split()


@pytest.mark.parametrize("name", GIVEN)
def test_the_stronger_source_wins(name, toml) -> None:
    """Each source in turn is the strongest; the weaker ones hold values that are refused."""
    text, value = GIVEN[name]
    bad_file = toml(f'{name} = "\\u0000"')
    bad = {f"MICRO_{name.upper()}": "\x00"}

    argument = load(f"--{name}=\x00", environ=bad, config=bad_file, **{name: text})
    flag = load(f"--{name}={text}", environ=bad, config=bad_file)
    variable = load(environ={f"MICRO_{name.upper()}": text}, config=bad_file)

    assert [getattr(found, name) for found in (argument, flag, variable)] == [value] * 3


def test_defaults_are_those_of_the_plain_object() -> None:
    settings = load()

    assert {option.name: getattr(settings, option.name) for option in OPTIONS} == {
        option.name: option.default for option in OPTIONS
    }
    assert settings.plugins == {"nats": {}}


def test_the_variable_names_the_file_and_the_flag_wins_over_it(tmp_path) -> None:
    (tmp_path / "a.toml").write_text("max_queue = 1")
    (tmp_path / "b.toml").write_text("max_queue = 2")
    environ = {"MICRO_CONFIG": str(tmp_path / "a.toml")}

    assert load(environ=environ).max_queue == 1
    assert load("--config", str(tmp_path / "b.toml"), environ=environ).max_queue == 2


def test_an_empty_variable_is_not_set() -> None:
    assert load(environ={"MICRO_TRANSPORT": "", "MICRO_CONFIG": ""}).transport == "nats"


def test_an_argument_of_none_is_not_given() -> None:
    assert load(environ={"MICRO_TRANSPORT": "memory"}, transport=None).transport == "memory"


def test_variables_of_others_do_not_matter() -> None:
    assert load(environ={"MICRO_PROXY": "x", "MICROPHONE": "y", "PATH": "/bin"}) == load()


def test_metadata_flags_add_up_and_a_table_keeps_commas(toml) -> None:
    path = toml('[server_metadata]\nzone = "a,b"\nrack = 7\nhot = true\n')

    assert load("--server_metadata", "a=1,b=2", "--server-metadata=c=x=y").server_metadata == {
        "a": "1",
        "b": "2",
        "c": "x=y",
    }
    assert load("--config", path).server_metadata == {"zone": "a,b", "rack": "7", "hot": "true"}


def test_addresses_may_be_a_list_in_the_file(toml) -> None:
    path = toml('transport_address = ["nats://a:1", "b:2,"]')

    assert load("--config", path).transport_address == ("nats://a:1", "b:2")


def test_the_shared_nats_address_is_weaker_than_each_own() -> None:
    settings = load("--broker_address", "b:2", environ={"MICRO_NATS_ADDRESS": "a:1"})

    assert settings.transport_address == settings.registry_address == ("a:1",)
    assert settings.broker_address == ("b:2",)
    assert settings.plugins["nats"] == {}


def test_the_shared_address_is_only_for_parts_with_that_plugin() -> None:
    settings = load("--transport", "memory", environ={"MICRO_NATS_ADDRESS": "a:1"})

    assert settings.transport_address == ()
    assert settings.broker_address == ("a:1",)


def test_one_address_serves_all_parts_with_the_same_plugin() -> None:
    settings = load("--registry_address", "a:1", "--broker", "memory")

    assert settings.addresses("transport") == ("a:1",)
    assert settings.addresses("broker") == ()


def test_two_different_addresses_leave_the_third_unclear() -> None:
    settings = load("--registry_address", "a:1", "--broker_address", "b:1")

    with pytest.raises(ConfigError, match="transport_address is not given"):
        settings.addresses("transport")


def test_driver_options_come_from_table_variable_and_flag(toml) -> None:
    path = toml('[nats]\nname = "file"\nmax_reconnect_attempts = 3\ntls = "file"')
    environ = {"MICRO_NATS_TLS": "env", "MICRO_NATS_NAME": "env"}

    settings = load("--config", path, "--nats-name", "flag", "--nats-pedantic", environ=environ)

    assert settings.plugins["nats"] == {
        "name": "flag",
        "max_reconnect_attempts": 3,
        "tls": "env",
        "pedantic": True,
    }


def test_driver_switches_can_be_turned_off_and_dashes_do_not_matter() -> None:
    assert load("--no-nats-allow-reconnect").plugins["nats"] == {"allow_reconnect": False}


def test_a_plugin_named_by_path_has_a_table(toml) -> None:
    path = toml('broker = "shop.bus:open_bus"\n["shop.bus:open_bus"]\nsize = 3')

    assert load("--config", path).plugins["shop.bus:open_bus"] == {"size": 3}


def test_driver_options_can_be_given_in_code() -> None:
    settings = load(environ={"MICRO_NATS_USER": "env"}, nats={"user": "code"})

    assert settings.plugins["nats"] == {"user": "code"}


def test_variables_that_kubernetes_sets_are_no_driver_options() -> None:
    environ = {
        "MICRO_NATS_SERVICE_HOST": "10.0.0.1",
        "MICRO_NATS_SERVICE_PORT": "4222",
        "MICRO_NATS_SERVICE_PORT_CLIENT": "4222",
        "MICRO_NATS_PORT": "tcp://10.0.0.1:4222",
        "MICRO_NATS_PORT_4222_TCP_ADDR": "10.0.0.1",
    }

    assert load(environ=environ).plugins["nats"] == {}


def test_a_table_of_an_installed_plugin_may_wait_in_the_file(toml) -> None:
    path = toml("[memory]\nmax_pending = 3")

    assert load("--config", path).plugins == {"nats": {}}


def test_secrets_are_never_in_the_repr_or_in_a_refusal() -> None:
    argv = ["--nats-password=hunter2", "--transport_address=nats://ann:hunter2@a:1,b:2"]

    assert "hunter2" not in repr(load(*argv))
    assert "password" in repr(load(*argv))
    assert "hunter2" not in refusal("--transport_address=nats://ann:hunter2@a b")


def test_settings_are_frozen_comparable_and_can_be_checked_by_hand() -> None:
    assert Settings(transport="memory") == Settings(transport="memory")
    assert hash(Settings()) == hash(Settings())
    assert Settings(client_request_timeout=1).client_request_timeout == 1.0
    with pytest.raises(ConfigError, match="argument connect_timeout"):
        Settings(connect_timeout=math.nan)
    with pytest.raises(AttributeError):
        Settings().transport = "x"
    assert copy.copy(Settings()) == Settings()


@pytest.mark.parametrize(
    "text", ["", "x", "-1s", "-1", "nan", "inf", "-inf", "1e400", "5 s", "5y", "1s-1s", "9999h"]
)
def test_a_duration_that_makes_no_sense_is_refused(text) -> None:
    assert "flag --shutdown-timeout: expected a duration" in refusal(f"--shutdown-timeout={text}")


@pytest.mark.parametrize("value", [True, None, [], math.inf, 10**400, -(10**400)])
def test_a_typed_duration_that_makes_no_sense_is_refused(value) -> None:
    with pytest.raises(ConfigError, match="expected a duration"):
        Settings(shutdown_timeout=value)


@pytest.mark.parametrize("value", ["-1", "1.5", "x", "", "1e3", True, 2.0])
def test_a_count_that_makes_no_sense_is_refused(value) -> None:
    assert "argument client_retries: expected a whole number" in refusal(client_retries=value)


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["--tranport", "x"], ["flag --tranport", "did you mean --transport?"]),
        (["--zzz"], ["flag --zzz", "no such flag", "micro run --help"]),
        (["--transport"], ["flag --transport", "needs a value"]),
        (["--transport", "--broker=x"], ["flag --transport", "needs a value"]),
        (["--selector", "rondom"], ["--selector", "round_robin", "did you mean random?", "rondom"]),
        (["--log-format", "xml"], ["--log-format", "text, json", "'xml'"]),
        (["--server_metadata", "zone"], ["--server-metadata", "zone=a", "'zone'"]),
        (["--server_name", "a b"], ["--server-name", "letters", "'a b'"]),
        (["--register_ttl", "20"], ["register_interval (30s)", "register_ttl (20s)"]),
        (["extra"], ["only flags"]),
        (["--config", "/no/such.toml"], ["flag --config", "/no/such.toml", "No such file"]),
        (["--kafka-acks", "all"], ["flag --kafka-acks", "no such flag"]),
    ],
)
def test_a_bad_flag_gets_one_line_with_its_name_value_and_choices(argv, parts) -> None:
    text = refusal(*argv)

    assert [part for part in parts if part not in text] == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("tranport = 'x'", ["micro.toml: tranport", "no such key", "did you mean transport?"]),
        ("[nast]\nname = 'x'", ["micro.toml: nast", "no such key"]),
        ("config = 'x'", ["micro.toml: config"]),
        ("max_queue = 1.5", ["micro.toml: max_queue", "whole number", "1.5"]),
        ("transport_address = 4222", ["micro.toml: transport_address", "4222"]),
        ("server_metadata = {a = [1]}", ["micro.toml: server_metadata", "pairs"]),
        ("a = = 1", ["micro.toml", "not valid TOML", "line 1"]),
    ],
)
def test_a_bad_file_gets_one_line_with_file_key_and_value(text, parts, toml) -> None:
    found = refusal("--config", toml(text))

    assert [part for part in parts if part not in found] == []


def test_a_file_that_is_not_text_is_refused(tmp_path) -> None:
    path = tmp_path / "micro.toml"
    path.write_bytes(b"\xff\xfe")

    assert "not valid TOML" in refusal("--config", str(path))


def test_a_misspelt_variable_gets_a_hint_and_does_not_stop_the_program() -> None:
    environ = {
        "MICRO_MAX_QUEU": "10",
        "MICRO_MAX_QUEUE": "7",
        "MICRO_PORT": "tcp://10.0.0.1:80",
        "MICRO_PROXY": "x",
        "MICRO_NATS_USER": "ann",
    }

    assert load(environ=environ).max_queue == 7
    assert variable_hints(environ) == [
        "variable MICRO_MAX_QUEU is not a setting; did you mean MICRO_MAX_QUEUE?"
    ]


def test_a_bad_variable_is_named() -> None:
    text = refusal(environ={"MICRO_CLIENT_RETRIES": "many"})

    assert "variable MICRO_CLIENT_RETRIES" in text
    assert "'many'" in text
