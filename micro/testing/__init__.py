"""For tests: the conformance suites that every plugin passes, and helpers that wait and look.

The suites need pytest and pytest-asyncio, and are imported when they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from micro.testing.leaks import assert_nothing_left
from micro.testing.recorder import Arrivals, Echo, KeptMailbox, Mailbox, Recorder, Signal

if TYPE_CHECKING:
    from micro.testing.conformance import (
        BrokerConformance,
        CodecConformance,
        KeptBrokerConformance,
        RegistryConformance,
        TransportConformance,
    )

__all__ = [
    "Arrivals",
    "BrokerConformance",
    "CodecConformance",
    "Echo",
    "KeptBrokerConformance",
    "KeptMailbox",
    "Mailbox",
    "Recorder",
    "RegistryConformance",
    "Signal",
    "TransportConformance",
    "assert_nothing_left",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module("micro.testing.conformance"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
