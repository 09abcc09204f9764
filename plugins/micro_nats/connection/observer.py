"""The methods that a connection calls on the objects that use it."""

from __future__ import annotations

from collections.abc import Mapping

from micro.errors import ConnectionLost

__all__ = ["Observer", "Observers"]


class Observer:
    """Methods that a connection calls; override the ones that matter.

    Each is called on the event loop, returns at once and never raises. A link calls its Connection
    in this way, and a Connection calls every object that was given to `Connection.observe`.
    """

    def on_lost(self, error: ConnectionLost) -> None:
        """The connection broke. Called at once, each time it breaks, and when it is closed."""

    def on_restored(self) -> None:
        """The connection is back, with every subscription in place."""

    def on_denied(self, subject: str) -> None:
        """The server refused a publication to `subject`."""

    def on_error(self, text: str) -> None:
        """The server sent -ERR; it closes the connection itself where the error ends it."""

    def on_info(self, info: Mapping[str, object]) -> None:
        """The server sent INFO: other servers, or lame duck mode."""


class Observers(Observer):
    """Calls several observers, in the order in which they were added."""

    def __init__(self) -> None:
        self._all: list[Observer] = []

    def add(self, observer: Observer) -> None:
        """Call `observer` from now on."""
        self._all.append(observer)

    def on_lost(self, error: ConnectionLost) -> None:
        """See `Observer.on_lost`."""
        for observer in self._all:
            observer.on_lost(error)

    def on_restored(self) -> None:
        """See `Observer.on_restored`."""
        for observer in self._all:
            observer.on_restored()

    def on_denied(self, subject: str) -> None:
        """See `Observer.on_denied`."""
        for observer in self._all:
            observer.on_denied(subject)
