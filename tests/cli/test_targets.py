"""What `micro run` finds in files and modules, and what it says when there is nothing."""

from __future__ import annotations

import sys

import pytest

from micro.cli.targets import load_services, source_folder
from micro.errors import ConfigError, HandlerError

ONE = "from micro import Service\npoints = Service('points')\n"
TWO = ONE + "orders = Service('orders')\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)

    def write(**files):
        for name, text in files.items():
            path = tmp_path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def names(*targets):
    return [service.name for service in load_services(targets)]


def complaint(*targets):
    with pytest.raises(ConfigError) as caught:
        load_services(targets)
    assert "\n" not in caught.value.detail
    return caught.value.detail


def test_a_file_a_module_and_one_service_of_several(folder, tmp_path) -> None:
    folder(target_a=ONE, shop__target_b=TWO)

    assert names("target_a.py") == ["points"]
    assert names(str(tmp_path / "target_a.py")) == ["points"]
    assert names("shop.target_b") == ["points", "orders"]
    assert names("shop.target_b:orders") == ["orders"]
    assert names("./shop/target_b.py:orders") == ["orders"]


def test_a_service_that_is_named_twice_runs_once(folder) -> None:
    folder(target_c=TWO)

    assert names("target_c:orders", "target_c", "target_c:points") == ["orders", "points"]


def test_two_files_of_one_name_are_two_modules(folder) -> None:
    folder(a__target_d=ONE, b__target_d=ONE.replace("points", "orders"))

    assert names("a/target_d.py", "b/target_d.py") == ["points", "orders"]


def test_a_file_in_a_package_may_import_its_siblings(folder, tmp_path) -> None:
    folder(pack__inner__target_e="from .other import points\n", pack__inner__other=ONE)
    (tmp_path / "pack" / "__init__.py").touch()
    (tmp_path / "pack" / "inner" / "__init__.py").touch()

    assert names("pack/inner/target_e.py") == ["points"]


def test_a_service_reads_annotations_of_its_own_file(folder) -> None:
    text = ONE + (
        "from pydantic import BaseModel\nclass Award(BaseModel): ...\n"
        "@points.handler\nasync def award(request: 'Award') -> 'Award': ..."
    )
    folder(target_f=text)

    assert names("target_f.py") == ["points"]


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("gone.py", "no such file"),
        ("shop/", "a folder, not a file"),
        ("no_such_module", "no such module"),
        ("shop.no_such_module", "no such module"),
        ("", "no such module"),
        (".x", "no such module"),
        ("empty.py", "no Service at the module's top level"),
        ("target_g:nothing", "'nothing' is not a Service (found: points)"),
        ("broken.py", "SyntaxError"),
        ("raises.py", "NameError: name 'x' is not defined"),
        ("needs.py", "needs the module 'no_such_package'"),
    ],
)
def test_what_cannot_run_is_told_in_one_line(target, text, folder) -> None:
    folder(
        shop__x="",
        empty="",
        target_g=ONE,
        broken="x = (",
        raises="\n\nx",
        needs="import no_such_package",
    )

    found = complaint(target)

    assert repr(target) in found
    assert text in found
    assert "raises.py:3" in found or target != "raises.py"


def test_a_handler_that_cannot_be_served_speaks_for_itself(folder) -> None:
    folder(target_h=ONE + "@points.handler\nasync def award(a, b, c): ...\n")

    with pytest.raises(HandlerError, match="award"):
        load_services(["target_h.py"])


def test_the_folder_to_watch_is_the_files_or_this_one(folder, tmp_path) -> None:
    folder(shop__x="")

    assert source_folder("shop/x.py:service") == tmp_path / "shop"
    assert source_folder("shop.x") == tmp_path
