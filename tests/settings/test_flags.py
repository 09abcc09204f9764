"""How settings are read from flags."""

from __future__ import annotations

import click
import pytest

from micro.errors import ConfigError
from micro.settings.flags import given_flags, parse_flags, read_flags, setting_options


def values(*argv):
    return {name: found.value for name, found in read_flags(argv).values.items()}


def test_a_switch_takes_a_value_only_after_an_equals_sign() -> None:
    assert values("--access-log") == {"access_log": True}
    assert values("--no-access-log") == {"access_log": False}
    assert values("--access_log=off") == {"access_log": "off"}
    with pytest.raises(ConfigError, match="only flags are expected"):
        values("--access-log", "yes")


def test_a_value_may_begin_with_one_dash_and_contain_equals_signs() -> None:
    argv = ("--server-id", "-5", "--server-version=b=c", "--nats-user=", "--nats-token", "-x")

    assert values(*argv) == {
        "server_id": "-5",
        "server_version": "b=c",
        "nats_user": "",
        "nats_token": "-x",
    }


def test_the_last_flag_of_a_name_wins_unless_they_add_up() -> None:
    assert values("--max-queue", "1", "--max_queue=3") == {"max_queue": "3"}
    argv = ("--server-metadata", "a=1", "--server_metadata=b=2")
    assert values(*argv) == {"server_metadata": ["a=1", "b=2"]}


def test_a_driver_flag_without_a_value_is_true_or_with_no_false() -> None:
    argv = ("--nats-pedantic", "--no-nats-allow-reconnect", "--nats-tls_ca", "ca.pem")

    assert values(*argv) == {
        "nats_pedantic": True,
        "nats_allow_reconnect": False,
        "nats_tls_ca": "ca.pem",
    }


def test_flags_of_a_plugin_named_by_its_path_are_taken() -> None:
    assert values("--shop.bus:open_bus-size", "3") == {"shop.bus:open_bus_size": "3"}


def test_values_of_unknown_flags_and_stray_words_are_not_shown() -> None:
    for argv in (["--pasword=hunter2"], ["--pasword", "hunter2"], ["--nats-user", "a", "hunter2"]):
        with pytest.raises(ConfigError) as caught:
            read_flags(argv)
        assert "hunter2" not in caught.value.detail


def test_the_flags_of_a_command_are_told_from_its_arguments_and_options() -> None:
    params = [click.Argument(["words"], nargs=-1), click.Option(["--json"], is_flag=True)]
    command = click.Command("x", params=[*params, *setting_options()])
    context = click.Context(command, ignore_unknown_options=True)
    argv = ["a", "--transport", "memory", "--json", "-5", "--nats-x", "y", "--", "--broker"]

    command.parse_args(context, parse_flags(context, argv))

    assert context.params == {"words": ("a", "-5", "--broker"), "json": True}
    assert given_flags(context) == ["--nats_x=y", "--transport=memory"]
