"""What happens when a Go program cannot be built: a lack is skipped, a mistake of ours fails."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.interop.gobuild import GoBuildError, GoUnavailable, go_build

MODULE = "module example.com/peer\n\ngo 1.18\n"
needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="there is no Go toolchain")


def write(folder: Path, module: str, program: str) -> None:
    (folder / "go.mod").write_text(module)
    (folder / "main.go").write_text(program)


def test_without_go_the_reason_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(GoUnavailable, match="the peer is not available here: there is no Go"):
        go_build("the peer", tmp_path, tmp_path / "program")


@needs_go
def test_a_module_that_cannot_be_downloaded_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOPROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
    monkeypatch.setenv("GONOSUMDB", "*")
    write(
        tmp_path,
        f"{MODULE}\nrequire example.com/absent v1.2.3\n",
        'package main\n\nimport _ "example.com/absent"\n\nfunc main() {}\n',
    )
    (tmp_path / "go.sum").write_text(
        "example.com/absent v1.2.3 h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
        "example.com/absent v1.2.3/go.mod h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    )

    with pytest.raises(
        GoUnavailable, match=r"the peer .*example\.com/absent@v1\.2\.3: \w+"
    ) as told:
        go_build("the peer", tmp_path, tmp_path / "program")

    assert "http" not in str(told.value)
    assert "downloading" not in str(told.value)


@needs_go
def test_a_mistake_in_the_sources_is_no_reason_to_skip(tmp_path: Path) -> None:
    write(tmp_path, MODULE, "package main\n\nfunc main() { return 1 }\n")

    with pytest.raises(GoBuildError, match=r"main\.go:3") as caught:
        go_build("the peer", tmp_path, tmp_path / "program")

    assert not isinstance(caught.value, GoUnavailable)
