"""Commands that call a service over a real server."""

from __future__ import annotations

import io
import json
import signal
import subprocess

import pytest

AWARD = '{"user":"ann","points":5}'


def test_call_prints_the_answer(points, micro) -> None:
    code, out, _ = micro("call", "points", "Points.Award", AWARD, "-H", "k:v", nats=points)

    assert code == 0
    assert json.loads(out) == json.loads(AWARD)


def test_call_reads_its_body_from_standard_input(points, micro) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(AWARD.encode()))

    assert micro("call", "points", "Points.Award", "-", nats=points, stdin=stdin)[0] == 0


def test_call_indents_on_a_terminal(points, micro, monkeypatch) -> None:
    monkeypatch.setattr("micro.cli.output.on_terminal", lambda: True)

    assert '{\n  "user"' in micro("call", "points", "Points.Award", AWARD, nats=points)[1]


@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        (["Points.Award", '{"user":"zoe","points":1}'], 1, "404 Not Found: no such user"),
        (["Points.Award", '{"user":"ann"}'], 1, "400 Bad Request: points"),
        (["Points.Nothing"], 1, "404 Not Found: points has no endpoint 'Points.Nothing'; it has"),
        (["Points.Awrd"], 1, "404 Not Found: points has no endpoint 'Points.Awrd'; did you mean"),
        (["Points.Refuse", AWARD], 3, "503 Service Unavailable: not today"),
        (["Points.Hang", AWARD, "--timeout", "200ms"], 4, "408 Request Timeout: "),
        (["Points.Hang", AWARD, "--client-request-timeout", "0.2"], 4, "408 Request Timeout: "),
    ],
)
def test_a_failed_call_has_its_error_and_exit_code(argv, code, text, points, micro) -> None:
    found, out, err = micro("call", "points", *argv, nats=points)

    assert (found, out) == (code, "")
    assert err.startswith(text)


@pytest.mark.parametrize(
    "argv",
    [
        ["call", "pints", "Points.Award"],
        ["stream", "pints", "Points.Count"],
        ["describe", "pints"],
        ["health", "pints"],
    ],
    ids=lambda argv: argv[0],
)
def test_a_service_without_nodes_is_code_3_with_a_hint(argv, points, micro) -> None:
    code, out, err = micro(*argv, nats=points)

    assert (code, out) == (3, "")
    assert err == "503 Service Unavailable: no node serves 'pints'; did you mean 'points'?\n"


def test_a_negative_number_is_a_body(points, micro) -> None:
    code, _, err = micro("call", "points", "Points.Award", "-5", nats=points)

    assert code == 1
    assert err.startswith("400 Bad Request: ")


def test_stream_prints_each_item_on_a_line(points, micro) -> None:
    request = '{"user":"ann","points":3}'

    code, out, _ = micro("stream", "points", "Points.Count", request, nats=points)

    assert code == 0
    assert [json.loads(line)["points"] for line in out.splitlines()] == [0, 1, 2]


def test_stream_answers_each_line_of_standard_input_as_it_comes(points, program) -> None:
    running = program(
        *("stream", "points", "Points.Double", "-", "--transport-address", points),
        stdin=subprocess.PIPE,
    )
    for number in range(3):
        running.process.stdin.write(json.dumps({"user": "ann", "points": number}) + "\n")
        running.process.stdin.flush()
        assert json.loads(running.process.stdout.readline())["points"] == 2 * number
    running.process.stdin.close()
    running.process.stdin = None

    assert running.stop() == 0


def test_ctrl_c_ends_a_stream_that_waits_for_its_input(points, program) -> None:
    running = program(
        *("stream", "points", "Points.Double", "-", "--transport-address", points),
        stdin=subprocess.PIPE,
    )
    running.process.stdin.write(AWARD + "\n")
    running.process.stdin.flush()
    running.process.stdout.readline()
    running.process.send_signal(signal.SIGINT)

    assert running.process.wait(10) == 130
    assert "Traceback" not in running.process.stderr.read()


def test_services_and_describe_show_running_services(points, micro) -> None:
    assert "points   1.0.0    1      5" in micro("services", nats=points)[1]
    (record,) = json.loads(micro("services", "--json")[1])
    assert (record["name"], len(record["nodes"])) == ("points", 1)
    code, out, _ = micro("describe", "points")
    assert code == 0
    assert "Award{user" in out
    assert "orders.created" in out.partition("TOPIC")[2]
    assert json.loads(micro("describe", "points", "--json")[1]) == [record]


CONTRACTS = """
from typing import Protocol
from pydantic import BaseModel

class Award(BaseModel):
    user: str
    points: int

class Points(Protocol):
    async def award(self, request: Award) -> Award: ...

class Account(Protocol):
    async def award(self, request: int) -> Award: ...
    async def close(self) -> None: ...
"""


def test_describe_checks_a_running_service_against_a_contract(points, micro, tmp_path) -> None:
    path = tmp_path / "contracts_of_points.py"
    path.write_text(CONTRACTS)

    code, out, err = micro("describe", "points", "--check", f"{path}:Points", nats=points)
    assert (code, out) == (0, "")
    assert "it keeps to Points" in err
    code, out, _ = micro("describe", "points", "--check", f"{path}:Account")
    assert code == 1
    assert out.splitlines() == [
        "1.0.0: Account.Award is missing",
        "1.0.0: Account.Close is missing",
    ]
    code, out, _ = micro("describe", "points", "--check", f"{path}:Account", "--json")
    assert (code, len(json.loads(out))) == (1, 2)
    code, _, err = micro("describe", "points", "--check", f"{path}:Nothing")
    assert code == 2
    assert "the module has no 'Nothing'" in err


def test_health_tells_whether_a_service_has_nodes(points, micro) -> None:
    code, out, _ = micro("health", "points", "--json", nats=points)

    assert (code, json.loads(out)["nodes"]) == (0, 1)


def test_subscribe_prints_what_is_published(nats, micro, program) -> None:
    running = program(
        *("subscribe", "orders.*", "--count", "2", "--json", "--log-level", "debug"),
        environ={"MICRO_NATS_ADDRESS": nats},
    )
    # Without a terminal it does not say that it has subscribed: publish until it ends.
    while running.process.poll() is None:
        assert micro("publish", "orders.created", AWARD, "-H", "k:v", nats=nats)[0] == 0

    assert running.stop() == 0
    first, second = (json.loads(line) for line in running.out.splitlines())
    assert first["topic"] == second["topic"] == "orders.created"
    assert first["body"] == json.loads(AWARD)
    assert first["headers"]["k"] == "v"


TOPICS = """
from pydantic import BaseModel
from micro import Topic

class Award(BaseModel):
    user: str
    points: int

awarded = Topic("orders.created", Award)
"""


def test_topics_of_a_module_can_be_published_on_and_read(nats, micro, program, tmp_path) -> None:
    path = tmp_path / "topics_of_points.py"
    path.write_text(TOPICS)
    target = f"{path}:awarded"
    running = program("subscribe", target, "--count", "1", environ={"MICRO_NATS_ADDRESS": nats})
    while running.process.poll() is None:
        assert micro("publish", target, AWARD, nats=nats)[0] == 0

    assert running.stop() == 0
    assert running.out.startswith("orders.created {")


def test_a_body_that_is_not_of_the_topics_type_is_refused(nats, micro, tmp_path) -> None:
    path = tmp_path / "topics_of_refused.py"
    path.write_text(TOPICS)

    code, _, err = micro("publish", f"{path}:awarded", '{"user": "ann"}', nats=nats)
    assert code == 2
    assert "points: " in err
    code, _, err = micro("publish", f"{path}:Award", AWARD, nats=nats)
    assert code == 2
    assert "it is not a Topic" in err
    code, _, err = micro("subscribe", f"{path}:missing", nats=nats)
    assert code == 2
    assert "the module has no 'missing'" in err


def test_subscribe_ends_after_its_timeout(nats, micro) -> None:
    code, _, err = micro("subscribe", "nothing.here", "--timeout", "100ms", nats=nats)

    assert code == 4
    assert "no more events of 'nothing.here' within 0.1s" in err


def test_ctrl_c_ends_subscribe(nats, program) -> None:
    running = program("subscribe", "x", "--nats-verbose", environ={"MICRO_NATS_ADDRESS": nats})
    running.process.send_signal(signal.SIGINT)

    assert running.stop() in (130, -signal.SIGINT)
