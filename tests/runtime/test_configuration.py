"""What the services of one program must agree on, and the help of a program."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from micro import Service, Topic
from micro.errors import HandlerError
from micro.runtime.configuration import load_all
from micro.service import define


class Award(BaseModel):
    user: str


def subscriber_of(topic: Topic, type_: type) -> Service:
    service = Service("points")

    async def handle(event) -> None: ...

    handle.__annotations__["event"] = type_
    service.subscriber(topic)(handle)
    return service


def test_one_topic_with_two_types_in_one_program_is_refused_with_both_places() -> None:
    one = subscriber_of(Topic("points.awarded", Award), Award)
    two = subscriber_of(Topic("points.awarded", str), str)

    text = r"'points\.awarded' has two types in one program: Award \(\S+:\d+\) and str \(\S+:\d+\)"
    with pytest.raises(HandlerError, match=text):
        load_all([define(one), define(two)], (), {})


def test_services_of_one_program_may_share_a_topic() -> None:
    topic, same = Topic("points.awarded", Award), Topic("points.awarded", Award)
    services = [subscriber_of(topic, Award), subscriber_of(same, Award)]

    assert load_all([define(each) for each in services], (), {}).transport == "nats"


def test_the_help_of_a_program_lists_its_own_settings_and_ends_it(capsys) -> None:
    class LimitSettings(BaseModel):
        most: int = 3

    service = Service("limits")
    service.config(LimitSettings)
    with pytest.raises(SystemExit) as ended:
        service.run(["--help"])

    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "--limit-most INTEGER\n      (default 3)\n" in printed
    assert "--transport TEXT" in printed
