"""What is read from the environment."""

from __future__ import annotations

from micro.settings.sources import read_environ


def test_only_variables_with_a_value_and_the_prefix_are_read() -> None:
    found = read_environ({"MICRO_A_B": "1", "MICRO_C": "", "MICROPHONE": "2", "PATH": "3"})

    assert {name: one.value for name, one in found.values.items()} == {"a_b": "1"}


def test_variables_that_container_platforms_set_are_left_out() -> None:
    environ = {
        "MICRO_SERVICE_HOST": "10.0.0.1",
        "MICRO_SERVICE_PORT": "80",
        "MICRO_SERVICE_PORT_HTTP": "80",
        "MICRO_PORT": "tcp://10.0.0.1:80",
        "MICRO_NATS_PORT": "tcp://10.0.0.1:4222",
        "MICRO_NATS_PORT_4222_TCP": "tcp://10.0.0.1:4222",
        "MICRO_NATS_PORT_4222_TCP_PROTO": "tcp",
    }

    assert read_environ(environ).values == {}


def test_a_port_that_is_a_number_is_not_from_a_platform() -> None:
    assert [*read_environ({"MICRO_REDIS_PORT": "6379"}).values] == ["redis_port"]
