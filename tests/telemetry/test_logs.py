"""Log output: text lines, JSON lines, and the handlers of the program itself."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from contextlib import contextmanager
from functools import partial

from opentelemetry.sdk.trace import TracerProvider

from micro.context import Context, ambient_context
from micro.telemetry.logs import JsonFormatter, TextFormatter, log_as, setup_logging

POINTS = partial(log_as, service="points", version="1.0.0", node="points-1")


@contextmanager
def bare_root(*handlers):
    """The root logger with these handlers alone, without even pytest's; put back afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("micro")
    kept = root.handlers[:], root.level, ours.level
    root.handlers[:] = handlers
    try:
        yield root
    finally:
        root.handlers[:] = kept[0]
        root.setLevel(kept[1])
        ours.setLevel(kept[2])


def record(message="hello %s", *args, **extra):
    made = logging.LogRecord("micro.server", logging.WARNING, "f", 1, message, args, None)
    made.__dict__.update(extra)
    return made


def failure():
    try:
        raise ValueError("boom")
    except ValueError:
        return sys.exc_info()


def test_a_text_line_has_time_level_service_and_message() -> None:
    with POINTS():
        line = TextFormatter().format(record("hello %s", "ann"))

    assert line[8] == "."
    assert line.split()[1:] == ["WARNING", "points", "hello", "ann"]
    assert TextFormatter().format(record("x")).split()[2] == "micro.server"


def test_control_characters_are_shown_and_lines_cannot_be_forged() -> None:
    line = TextFormatter().format(record("a\x1b[31m\r\n12:00:00.000 INFO x"))

    assert "\x1b" not in line
    assert r"\x1b[31m\r" in line
    assert "\n    12:00" in line


def test_a_traceback_stands_below_its_line() -> None:
    line = TextFormatter().format(record("x", exc_info=failure()))

    assert "\n    Traceback" in line
    assert line.endswith("ValueError: boom")


def test_colour_is_only_around_time_and_level() -> None:
    line = TextFormatter(colour=True).format(record("x"))

    assert "\x1b[33mWARNING" in line
    assert line.endswith(" x")


def test_json_has_the_fields_that_are_known() -> None:
    with POINTS():
        line = JsonFormatter().format(record("hello %s", "ann", order=7, exc_info=failure()))
    fields = json.loads(line)

    assert fields.pop("time").endswith("Z")
    assert "boom" in fields.pop("error")
    assert fields == {
        "level": "warning",
        "logger": "micro.server",
        "message": "hello ann",
        "service": "points",
        "version": "1.0.0",
        "node": "points-1",
        "order": 7,
    }


def test_the_identity_ends_with_its_block() -> None:
    with POINTS():
        pass

    assert "node" not in json.loads(JsonFormatter().format(record("x")))


async def test_tasks_that_start_in_the_block_keep_the_identity() -> None:
    async def line() -> str:
        return JsonFormatter().format(record("x"))

    with POINTS():
        task = asyncio.create_task(line())

    assert json.loads(await task)["node"] == "points-1"


def test_lines_of_a_handler_have_its_service_trace_and_span() -> None:
    token = ambient_context.set(Context("orders", "Orders.Place", {}))
    try:
        with TracerProvider().get_tracer("t").start_as_current_span("s") as span:
            fields = json.loads(JsonFormatter().format(record("x")))
    finally:
        ambient_context.reset(token)

    assert fields["service"] == "orders"
    assert fields["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert fields["span_id"] == f"{span.get_span_context().span_id:016x}"


def test_without_an_sdk_the_trace_of_the_caller_is_told() -> None:
    headers = {"Traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    token = ambient_context.set(Context("orders", "Orders.Place", headers))
    try:
        fields = json.loads(JsonFormatter().format(record("x")))
    finally:
        ambient_context.reset(token)

    assert (fields["trace_id"], fields["span_id"]) == ("a" * 32, "b" * 16)


def test_a_json_line_stays_one_line_whatever_is_in_the_message() -> None:
    message = "a\x1b]0;x\x07\n\x9b\u202e\u2028\ud800"

    line = JsonFormatter().format(record("%s", message))

    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == message


def test_setting_up_twice_leaves_one_handler() -> None:
    first, second = io.StringIO(), io.StringIO()
    with bare_root() as root:
        setup_logging("debug", "text", stream=first)
        setup_logging("warning", "json", stream=second)
        logging.getLogger("micro.server").info("quiet")
        logging.getLogger("micro.server").warning("loud")

        assert len(root.handlers) == 1
    assert first.getvalue() == ""
    assert json.loads(second.getvalue())["message"] == "loud"


def test_handlers_of_the_program_are_kept() -> None:
    own = logging.NullHandler()
    with bare_root(own) as root:
        setup_logging("debug", "json")

        assert root.handlers == [own]
        assert logging.getLogger("micro").level == logging.DEBUG
