from __future__ import annotations

import subprocess
import sys

import pytest

from micro.errors import ConfigError
from micro_sql import SqlInbox, SqlOutbox


@pytest.mark.parametrize(
    ("engine", "text"),
    [
        ("mysql://localhost/shop", "sqlite:// or postgresql://, got mysql://"),
        (":memory:", "need a SQLite file"),
        (17, "got 17; give a path"),
    ],
)
def test_an_engine_that_cannot_be_used_is_refused_at_once(engine: object, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        SqlOutbox(engine)
    with pytest.raises(ConfigError, match=text):
        SqlInbox(engine)


def test_a_driver_that_is_missing_is_named_with_its_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    monkeypatch.delitem(sys.modules, "micro_sql.postgresql", raising=False)

    with pytest.raises(ConfigError, match=r"install it with 'micro-rpc\[asyncpg\]'"):
        SqlOutbox("postgresql://localhost/shop")


def test_importing_the_package_imports_no_driver() -> None:
    program = (
        "import micro_sql, sys; print({'aiosqlite', 'asyncpg', 'sqlalchemy'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stdout == "set()\n", done.stderr


async def test_what_is_no_transaction_is_refused(tmp_path) -> None:
    outbox = SqlOutbox(tmp_path / "shop.sqlite")

    with pytest.raises(ConfigError, match="a transaction is a connection"):
        await outbox.publish("shop.sqlite", "orders", {})


@pytest.mark.parametrize("option", [{"keep": "soon"}, {"poll": "often"}])
def test_a_duration_that_cannot_be_read_is_refused(option: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=rf"{next(iter(option))} of SqlOutbox"):
        SqlOutbox("shop.sqlite", **option)
