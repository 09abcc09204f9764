"""`micro topics`, `micro events` and `micro durable`, over a nats-server that stores."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from micro.backend import BackendOptions
from micro.broker.kept_types import Durable
from micro.message import Message
from micro.testing import KeptMailbox
from micro_nats.backend import open_nats

ORDERS = """
from dataclasses import dataclass
from micro import Keep, Topic

@dataclass
class Order:
    id: int{more}

created = Topic({topic!r}, Order, keep=Keep({keep}))
"""


@pytest.fixture
def nats(jetstream_server):
    return jetstream_server.address


@pytest.fixture
def topic():
    return f"cli.{uuid4().hex}"


@pytest.fixture
def orders(tmp_path, topic):
    """Write a module with the topic `created`; returns its path."""

    def write(keep="'7d', bytes='1MiB'", more=""):
        # A process knows the topics that it has imported, and this one runs several commands.
        forget_modules()
        path = tmp_path / f"orders_{uuid4().hex}.py"
        path.write_text(ORDERS.format(topic=topic, keep=keep, more=more))
        return str(path)

    yield write
    forget_modules()


def forget_modules():
    for name in [name for name in sys.modules if name.startswith("orders_")]:
        del sys.modules[name]
    gc.collect()


@asynccontextmanager
async def opened(nats):
    async with open_nats(BackendOptions(addresses=(nats,))) as backend:
        yield backend.broker


def store(nats, topic, *bodies):
    async def work():
        async with opened(nats) as broker:
            for number, body in enumerate(bodies, 1):
                headers = {"Content-Type": "application/json"}
                await broker.store(topic, Message(headers, body), id=f"o-{number}")

    asyncio.run(work())


def handle(nats, topic, durable, count):
    """Read a durable and settle so many events."""

    async def work():
        box = KeptMailbox()
        async with (
            opened(nats) as broker,
            await broker.consume(topic, box, Durable(name=durable, limit=1)),
        ):
            await box.ack(count)
            return box.bodies

    return asyncio.run(work())


@pytest.fixture
def kept(micro, nats, orders, topic):
    """The topic with three events, and a durable that has handled one."""
    assert micro("topics", "apply", orders(), nats=nats)[0] == 0
    store(nats, topic, b'{"id": 1}', b'{"id": 2}', b'{"id": 3}')
    handle(nats, topic, "mail", 1)
    return topic


def test_a_plan_is_what_apply_does(micro, nats, orders, topic) -> None:
    path = orders()
    planned = json.loads(micro("topics", "plan", path, nats=nats)[1])
    again = json.loads(micro("topics", "plan", path, nats=nats)[1])
    code, out, _ = micro("topics", "apply", path, nats=nats)
    after = json.loads(micro("topics", "plan", path, nats=nats)[1])

    assert planned == again
    assert (planned[0]["topic"], planned[0]["action"]) == (topic, "create")
    assert planned[0]["details"] == ["age 7d, bytes 1MiB, full: refuse"]
    assert (code, json.loads(out)[0]["action"]) == (0, "created")
    assert after[0]["action"] == "none"


def test_apply_widens_a_topic_that_differs(micro, nats, kept, orders) -> None:
    wider = orders("'14d', bytes='2MiB'")
    plan = json.loads(micro("topics", "plan", wider, nats=nats)[1])[0]
    code, out, _ = micro("topics", "apply", wider, nats=nats)

    assert plan["action"] == "change"
    assert [line for line in plan["details"] if "age" in line]
    assert (code, json.loads(out)[0]["action"]) == (0, "changed")
    assert json.loads(micro("topics", "plan", wider, nats=nats)[1])[0]["action"] == "none"


def test_apply_removes_no_events_unless_told(micro, nats, kept, orders) -> None:
    smaller = orders("'1h', bytes='1MiB'")
    code, out, _ = micro("topics", "apply", smaller, nats=nats)
    allowed = micro("topics", "apply", smaller, "--allow-loss", nats=nats)

    assert (code, json.loads(out)[0]["action"]) == (1, "refused")
    assert json.loads(out)[0]["details"] == [
        "a smaller limit of age can remove events: add --allow-loss to allow it"
    ]
    assert (allowed[0], json.loads(allowed[1])[0]["action"]) == (0, "changed")


def test_check_fails_where_the_topic_is_absent_or_its_events_are_unreadable(
    micro, nats, orders, topic
) -> None:
    absent = micro("topics", "check", orders(), nats=nats)
    micro("topics", "apply", orders(), nats=nats)
    store(nats, topic, b'{"id": 1}')
    good = micro("topics", "check", orders(), nats=nats)
    broken = micro("topics", "check", orders(more="\n    price: int"), nats=nats)
    unread = micro("topics", "check", orders(more="\n    price: int"), "--events=0", nats=nats)

    assert (absent[0], json.loads(absent[1])[0]["action"]) == (1, "create")
    assert good[0] == unread[0] == 0
    assert (broken[0], json.loads(broken[1])[0]["action"]) == (1, "unreadable")
    assert "event 1 (o-1): " in json.loads(broken[1])[0]["details"][0]


def test_a_module_without_kept_topics_is_refused(micro, nats, tmp_path) -> None:
    path = tmp_path / "nothing.py"
    path.write_text("")
    code, _, err = micro("topics", "plan", str(path), nats=nats)

    assert code == 2
    assert "no kept topic; write Topic(..., keep='7d')" in err


def test_plan_shows_positions_on_a_terminal(micro, nats, kept, orders, monkeypatch) -> None:
    monkeypatch.setattr("micro.cli.topics.on_terminal", lambda: True)
    lines = micro("topics", "plan", orders(), nats=nats)[1].splitlines()

    assert lines[0].split() == ["TOPIC", "ACTION", "DETAILS"]
    assert lines[1].split() == [kept, "none"]
    assert lines[3].split() == ["TOPIC", "DURABLE", "WAITING", "UNSETTLED", "IN", "CODE"]
    assert lines[4].split()[:2] == [kept, "mail"]


def test_plan_tells_positions_that_no_code_uses(micro, nats, topic, tmp_path, monkeypatch) -> None:
    path = tmp_path / f"orders_mail_{uuid4().hex}.py"
    path.write_text(MAIL.format(topic=topic, switch=""))
    micro("topics", "apply", str(path), nats=nats)
    for durable in ("mail", "mail_old", "points"):
        handle(nats, topic, durable, 0)
    (step,) = json.loads(micro("topics", "plan", str(path))[1])
    monkeypatch.setattr("micro.cli.topics.on_terminal", lambda: True)
    shown = micro("topics", "plan", str(path))[1]
    forget_modules()

    unused = {each["durable"]: each["unused"] for each in step["positions"]}
    assert unused == {"mail": False, "mail_old": True, "points": False}
    assert f"no: micro topics forget {topic} mail_old" in shown


def test_a_forgotten_position_is_gone(micro, nats, kept) -> None:
    asked = micro("topics", "forget", kept, "mail", nats=nats)
    wrong = micro("topics", "forget", kept, "mial", "--yes", nats=nats)
    code, _, err = micro("topics", "forget", kept, "mail", "--yes", nats=nats)

    assert asked[0] == 2
    assert "Add --yes" in asked[2]
    assert wrong[0] == 1
    assert "did you mean 'mail'?" in wrong[2]
    assert (code, err) == (
        0,
        f"micro: forgot 'mail' of '{kept}', which had 2 events to handle\n",
    )
    assert micro("durable", "show", kept, nats=nats)[1] == "[]\n"


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        ([], [1, 2, 3]),
        (["--start", "2"], [2, 3]),
        (["--start", "2", "--end", "2"], [2]),
        (["--end", "2"], [1, 2]),
        (["--last", "1"], [3]),
        (["--count", "2"], [1, 2]),
        (["--start", "1h"], [1, 2, 3]),
        (["--end", "1h"], []),
        (["--start", "2020-01-01T00:00", "--end", "2099-01-01T00:00Z"], [1, 2, 3]),
    ],
)
def test_events_of_a_range_are_shown(micro, nats, kept, argv, wanted) -> None:
    code, out, _ = micro("events", "show", kept, *argv, nats=nats)
    events = [json.loads(line) for line in out.splitlines()]

    assert code == 0
    assert [event["sequence"] for event in events] == wanted
    assert [event["body"] for event in events] == [{"id": number} for number in wanted]
    assert [event["id"] for event in events] == [f"o-{number}" for number in wanted]


def test_events_are_lines_on_a_terminal(micro, nats, kept, orders, monkeypatch) -> None:
    monkeypatch.setattr("micro.cli.stored.on_terminal", lambda: True)
    lines = micro("events", "show", f"{orders()}:created", "--last", "2", nats=nats)[1]

    words = [line.split(" ", 3) for line in lines.splitlines()]
    assert [(number, id, body) for number, _, id, body in words] == [
        ("2", "o-2", '{"id": 2}'),
        ("3", "o-3", '{"id": 3}'),
    ]


def test_following_shows_events_as_they_are_stored(program, nats, kept) -> None:
    shown = program("events", "show", kept, "--follow", "--nats-address", nats)
    first = [json.loads(shown.process.stdout.readline())["sequence"] for _ in range(3)]
    store(nats, kept, *[b"{}"] * 3, b'{"id": 4}')
    fourth = json.loads(shown.process.stdout.readline())

    assert first == [1, 2, 3]
    assert (fourth["sequence"], fourth["body"]) == (4, {"id": 4})
    assert shown.stop(2) == 130


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--start", "soon"], "or how long ago, such as 2h; got 'soon'"),
        (["--end", "1-2"], "or how long ago, such as 2h; got '1-2'"),
        (["--follow", "--end", "3"], "--follow has no end"),
        (["--last", "3", "--start", "1"], "give --start or --last, not both"),
    ],
)
def test_a_range_that_cannot_be_is_refused(micro, nats, argv, text) -> None:
    code, _, err = micro("events", "show", "orders", *argv, nats=nats)

    assert code == 2
    assert text in err


def test_a_topic_that_is_not_kept_is_an_error(micro, nats) -> None:
    for argv in (["events", "show", "nothing.kept"], ["durable", "show", "nothing.kept"]):
        code, _, err = micro(*argv, nats=nats)

        assert code == 1
        assert err.startswith("404 Not Found: ")
        assert "nothing.kept" in err


def test_a_durable_is_shown(micro, nats, kept, monkeypatch) -> None:
    (shown,) = json.loads(micro("durable", "show", kept, "mail", nats=nats)[1])
    monkeypatch.setattr("micro.cli.durables.on_terminal", lambda: True)
    lines = micro("durable", "show", kept, nats=nats)[1].splitlines()

    assert (shown["topic"], shown["durable"]) == (kept, "mail")
    assert shown["waiting"] + shown["unsettled"] == 2
    assert lines[0].split()[:4] == ["DURABLE", "WAITING", "UNSETTLED", "OLDEST"]
    assert lines[1].split()[0] == "mail"


def test_a_moved_durable_gets_events_again(micro, nats, kept) -> None:
    code, _, err = micro("durable", "reset", kept, "mail", "--start", "1", "--yes", nats=nats)

    assert (code, err) == (0, f"micro: moved 'mail' of '{kept}': 3 events to handle\n")
    assert handle(nats, kept, "mail", 3) == [b'{"id": 1}', b'{"id": 2}', b'{"id": 3}']


def test_a_paused_durable_is_shown_as_paused_until_it_is_resumed(micro, nats, kept) -> None:
    paused = micro("durable", "pause", kept, "mail", "--for", "2h", nats=nats)
    (shown,) = json.loads(micro("durable", "show", kept, nats=nats)[1])
    resumed = micro("durable", "resume", kept, "mail", nats=nats)
    (after,) = json.loads(micro("durable", "show", kept, nats=nats)[1])

    assert (paused[0], resumed[0]) == (0, 0)
    assert shown["paused_until"] in paused[2]
    assert after["paused_until"] is None


def test_a_group_without_a_command_shows_its_commands(micro) -> None:
    for group, command in (("topics", "apply"), ("events", "show"), ("durable", "pause")):
        code, out, err = micro(group)

        assert code in (0, 2)
        assert command in out + err


MAIL = """
from dataclasses import dataclass
from pathlib import Path
from micro import Keep, Reject, Service, Topic

@dataclass
class Order:
    id: int

created = Topic({topic!r}, Order, keep=Keep("7d", bytes="1MiB"))
service = Service("mail")

@service.subscriber(created, durable=True)
async def send(event: Order) -> None:
    if not Path({switch!r}).exists():
        raise Reject("no such user")
    print("sent", event.id, flush=True)
"""


@pytest.fixture
def mail(micro, nats, program, tmp_path, topic):
    """A service that has rejected two events; the file `switch` makes it accept them."""
    path = tmp_path / f"orders_mail_{uuid4().hex}.py"
    path.write_text(MAIL.format(topic=topic, switch=str(tmp_path / "switch")))
    assert micro("topics", "apply", str(path), nats=nats)[0] == 0
    store(nats, topic, b'{"id": 1}', b'{"id": 2}')
    running = program("run", str(path), "--nats-address", nats)
    running.wait_for("dead letter", times=2)
    yield running
    forget_modules()


def dead(micro, topic):
    out = micro("dead", "list", "--topic", topic)[1]
    return [json.loads(line) for line in out.splitlines()]


def test_dead_letters_are_listed_shown_and_removed(micro, mail, topic, monkeypatch) -> None:
    # Handlers run side by side, so either may be the first to die.
    letters = sorted(dead(micro, topic), key=lambda letter: letter["sequence"])
    shown = json.loads(micro("dead", "show", letters[0]["key"])[1])
    with monkeypatch.context() as terminal:
        terminal.setattr("micro.cli.dead.on_terminal", lambda: True)
        lines = micro("dead", "list", "--topic", topic, "--durable", "mail")[1].splitlines()
        none = micro("dead", "list", "--durable", "no-one")
    asked = micro("dead", "drop", f"mail/{topic}/1")
    dropped = micro("dead", "drop", f"mail/{topic}/1", "--yes")
    young = micro("dead", "purge", "--older", "1h", "--topic", topic, "--yes")
    purged = micro("dead", "purge", "--older", "0", "--topic", topic, "--yes")

    assert [letter["key"] for letter in letters] == [f"mail/{topic}/1", f"mail/{topic}/2"]
    assert (letters[0]["reason"], letters[0]["id"]) == ("rejected", "o-1")
    assert letters[0]["error"] == "no such user"
    assert shown["body"] == {"id": 1}
    assert lines[0].split() == ["KEY", "ID", "DIED", "ATTEMPTS", "REASON", "ERROR"]
    assert [line for line in lines if line.startswith(f"mail/{topic}/1  o-1 ")]
    assert none[2] == "micro: no dead letters\n"
    assert asked[0] == 2
    assert "Add --yes" in asked[2]
    assert (dropped[0], dropped[2]) == (0, "micro: dropped 1 of 1 dead letters\n")
    assert (young[2], purged[2]) == (
        "micro: removed 0 dead letters\n",
        "micro: removed 1 dead letters\n",
    )
    assert dead(micro, topic) == []


def test_a_replayed_dead_letter_is_handled_again(micro, mail, topic, tmp_path, monkeypatch) -> None:
    (tmp_path / "switch").touch()
    code, _, err = micro("dead", "replay", f"mail/{topic}/2")
    handled = mail.process.stdout.readline()
    again = micro("dead", "replay", f"mail/{topic}/2")
    monkeypatch.setattr("micro.cli.dead._PROGRESS_SECONDS", 0.0)
    rest = micro("dead", "replay", "--all", "--topic", topic)

    assert (code, err) == (0, "micro: replayed 1 of 1 dead letters\n")
    assert handled == "sent 2\n"
    assert again[0] == 1
    assert "no dead letter has the key" in again[2]
    assert rest[2].splitlines() == [
        "micro: replayed 1 of 1",
        "micro: replayed 1 of 1 dead letters",
    ]
    assert dead(micro, topic) == []


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ([], "give the keys that 'micro dead list' shows, or --all"),
        (["a/b/1", "--all"], "give the keys that 'micro dead list' shows, or --all"),
        (["a/b/1", "--topic", "b"], "--topic and --durable go with --all"),
    ],
)
def test_a_choice_of_dead_letters_that_cannot_be_is_refused(micro, nats, argv, text) -> None:
    for command in ("replay", "drop"):
        code, _, err = micro("dead", command, *argv, nats=nats)

        assert code == 2
        assert text in err
