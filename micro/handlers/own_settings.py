"""A handle on the application's own settings, which has their value while the service runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from micro.handlers.definition import Runs

__all__ = ["OwnSettings"]

M = TypeVar("M", bound=BaseModel)


class OwnSettings(Generic[M]):
    """Own settings of a service; see `Service.config`.

    Args:
        runs: The runs of the service.
        service: The service's name, for errors.
        prefix: The prefix of the settings.
        given: Where an override is kept, by prefix.
    """

    def __init__(self, runs: Runs[Any], service: str, prefix: str, given: dict[str, Any]) -> None:
        self._runs = runs
        self._service = service
        self._prefix = prefix
        self._given = given

    @property
    def value(self) -> M:
        """The settings of the run that executes this code; outside of every run, of the only one.

        Raises:
            UsageError: the service is not running.
        """
        run = self._runs.current(self._service)
        given = self._given if self._prefix in self._given else run.own_settings
        value: M = given[self._prefix]
        return value

    @contextmanager
    def override(self, value: M) -> Iterator[None]:
        """Use this value while the block lasts, whatever is configured; for tests."""
        before = dict(self._given)
        self._given[self._prefix] = value
        try:
            yield
        finally:
            self._given.clear()
            self._given.update(before)
