"""An application's own settings: their sources, and what bad input gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from micro import MemoryBackend, Service
from micro.errors import ConfigError, UsageError
from micro.runtime.configuration import load_all, load_for
from micro.runtime.lifecycle import ServiceRunner
from micro.service import define
from tests.examples.programs import run


class PointsSettings(BaseModel):
    dsn: str = "memory"
    pool_size: int = 5
    tags: list[str] = []


class OtherSettings(BaseModel):
    url: str


def loaded(argv: list[str], environ: dict[str, str], **given: Any) -> PointsSettings:
    service = Service("points", **given)
    service.config(PointsSettings)
    definition = define(service)
    value = ServiceRunner(definition, load_for(definition, argv, environ)).own_settings["points"]
    assert isinstance(value, PointsSettings)
    return value


def file_with(tmp_path: Path, text: str) -> str:
    path = tmp_path / "points.toml"
    path.write_text(text)
    return str(path)


def test_code_wins_over_flag_over_variable_over_file_over_default(tmp_path: Path) -> None:
    path = file_with(tmp_path, '[points]\ndsn = "file"\npool-size = 1\ntags = ["a"]\n')
    flags, variable = ["--points-dsn=flag", "--config", path], {"MICRO_POINTS_DSN": "variable"}

    assert loaded([], {}).dsn == "memory"
    assert loaded(["--config", path], {}) == PointsSettings(dsn="file", pool_size=1, tags=["a"])
    assert loaded(["--config", path], variable).dsn == "variable"
    assert loaded(flags, variable).dsn == "flag"
    assert loaded(flags, variable, settings={"points": {"dsn": "code"}}).dsn == "code"
    assert loaded(["--points-pool-size", "9"], {"MICRO_POINTS_TAGS": '["a"]'}).tags == ["a"]


@pytest.mark.parametrize(
    ("argv", "environ", "text"),
    [
        (["--points-pool-size=many"], {}, "flag --points-pool-size: .*integer.*, got 'many'"),
        ([], {"MICRO_POINTS_POOL_SIZE": "x"}, "variable MICRO_POINTS_POOL_SIZE: .*got 'x'"),
        (["--points-pool-sise=1"], {}, "no setting 'pool_sise'; did you mean pool_size?"),
        (["--pionts-dsn=1"], {}, "flag --pionts-dsn: there is no such flag"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_its_source(
    argv: list[str], environ: dict[str, str], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        loaded(argv, environ)


def test_an_unknown_key_of_the_table_is_refused(tmp_path: Path) -> None:
    path = file_with(tmp_path, '[points]\ndsm = "x"\n')

    with pytest.raises(ConfigError, match=r"points.toml: points.dsm: .* did you mean dsn\?"):
        loaded(["--config", path], {})


def test_an_unknown_table_is_refused(tmp_path: Path) -> None:
    path = file_with(tmp_path, '[pionts]\ndsn = "x"\n')

    with pytest.raises(ConfigError, match=r"did you mean points\?"):
        loaded(["--config", path], {})


def test_a_secret_is_not_shown() -> None:
    class PointsSettings(BaseModel):
        password: int

    service = Service("points")
    service.config(PointsSettings)
    definition = define(service)
    settings = load_for(definition, [], {"MICRO_POINTS_PASSWORD": "tiger"})

    with pytest.raises(ConfigError, match="variable MICRO_POINTS_PASSWORD") as refused:
        ServiceRunner(definition, settings)
    assert "tiger" not in str(refused.value)


def test_a_setting_that_is_missing_says_how_to_give_it() -> None:
    service = Service("points")
    service.config(OtherSettings)
    definition = define(service)

    with pytest.raises(ConfigError, match="give --other-url, MICRO_OTHER_URL, or url in the table"):
        ServiceRunner(definition, load_for(definition, [], {}))


@pytest.mark.parametrize("prefix", ["points", "points-db"])
def test_two_models_with_one_prefix_are_refused(prefix: str) -> None:
    service = Service("points")
    service.config(PointsSettings)

    with pytest.raises(ConfigError, match=r"OtherSettings \(.*test_config.py:\d+\): its prefix"):
        service.config(OtherSettings, prefix=prefix)


def test_two_services_of_one_process_cannot_share_a_prefix() -> None:
    one, other = Service("one"), Service("other")
    one.config(PointsSettings)
    other.config(OtherSettings, prefix="points")

    with pytest.raises(ConfigError, match="cannot be told from 'points' of class PointsSettings"):
        load_all([define(one), define(other)], [], {})


@pytest.mark.parametrize(
    ("model", "prefix", "error"),
    [
        (int, None, UsageError),
        (PointsSettings, "Points!", UsageError),
        (PointsSettings, "server", UsageError),
    ],
)
def test_what_is_no_model_or_prefix_is_refused(model: Any, prefix: Any, error: Any) -> None:
    with pytest.raises(error):
        Service("points").config(model, prefix=prefix)


def test_the_prefix_of_a_plugin_is_taken() -> None:
    service = Service("points")
    service.config(PointsSettings, prefix="nats")

    with pytest.raises(ConfigError, match="of plugin 'nats'"):
        load_for(define(service), [], {})


async def test_the_value_is_that_of_the_run_that_executes() -> None:
    service, backend = Service("points"), MemoryBackend()
    settings = service.config(PointsSettings)

    @service.handler
    async def dsn() -> str:
        return settings.value.dsn

    with pytest.raises(UsageError, match="not running"):
        print(settings.value)
    definition = define(service)
    one, two = (load_for(definition, [f"--points-dsn={each}"], {}) for each in ("one", "two"))
    async with service.running(backend, settings=one) as client:
        assert settings.value.dsn == "one"
        async with service.running(backend, settings=two):
            answers = {await client.call("points", "Points.Dsn", None, str) for _ in range(20)}
        with settings.override(PointsSettings(dsn="test")):
            assert await client.call("points", "Points.Dsn", None, str) == "test"

    assert answers == {"one", "two"}


def test_micro_run_gives_the_program_its_own_flags(tmp_path: Path) -> None:
    (tmp_path / "points.py").write_text(PROGRAM)
    target = str(tmp_path / "points.py")
    given = ("--points-dsn", "flag", "--transport=memory", "--broker=memory", "--registry=memory")

    done = run("-m", "micro.cli", "run", target, *given)
    wrong = run("-m", "micro.cli", "run", target, "--points-dsm=flag")

    assert "dsn is flag" in done.stdout, done.stderr
    assert (wrong.returncode, "did you mean dsn?" in wrong.stderr) == (2, True)


PROGRAM = """
import os, signal
from pydantic import BaseModel
from micro import Service

class PointsSettings(BaseModel):
    dsn: str

service = Service("points")
settings = service.config(PointsSettings)

@service.on_start
async def show():
    print("dsn is", settings.value.dsn)
    os.kill(os.getpid(), signal.SIGTERM)
"""
