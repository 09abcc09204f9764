"""Builds all Go programs that the tests run, before the tests and outside their time limits.

    python -m tests.interop.peers

The first time takes minutes, later ones a moment. What is not available here is named, and its
tests are skipped with that reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from examples.shop_with_go.__main__ import BINARY, SOURCE
from tests.interop.gobuild import (
    FOLDER,
    GENERATIONS,
    GoBuildError,
    build_program,
    go_build,
    one_builder,
    sources_for,
)

__all__ = ["SHOP", "GoPrograms", "build_peer"]

SHOP = "the shop in Go"


def build_peer(generation: str) -> Path:
    """The binary of a generation's peer, built unless it was before.

    Raises:
        GoUnavailable: there is no Go, or this generation cannot be downloaded.
        GoBuildError: the sources are wrong.
    """
    return build_program(f"go-micro {generation}", sources_for(generation, FOLDER / "program"))


def _build_shop() -> Path:
    with one_builder():
        go_build(SHOP, SOURCE, BINARY)
    return BINARY


class GoPrograms:
    """Every program's binary, or why there is none."""

    def __init__(self) -> None:
        self._binaries: dict[str, Path] = {}
        self._errors: dict[str, GoBuildError] = {}

    def path(self, name: str) -> Path:
        """The binary of a generation's peer, or of `SHOP`.

        Raises:
            GoUnavailable: there is no Go, or the program's modules cannot be downloaded.
            GoBuildError: the sources are wrong.
        """
        if name in self._errors:
            raise self._errors[name]
        return self._binaries[name]

    def generations(self) -> list[str]:
        """The generations of go-micro that run here."""
        return [generation for generation in GENERATIONS if generation in self._binaries]

    def build(self, say: Callable[[str], None]) -> None:
        """Build all, telling what happens."""
        makers = {generation: partial(build_peer, generation) for generation in GENERATIONS}
        for name, make in {**makers, SHOP: _build_shop}.items():
            say(f"==> building {f'go-micro {name}' if name in makers else name}")
            began = time.monotonic()
            try:
                self._binaries[name] = make()
                say(f"    ready after {time.monotonic() - began:.1f} s")
            except GoBuildError as error:
                self._errors[name] = error
                say(f"    {error}")


if __name__ == "__main__":
    GoPrograms().build(partial(print, flush=True))
