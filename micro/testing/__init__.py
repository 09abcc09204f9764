"""For tests: a network without a server, the conformance suites of plugins, and bounded waits.

The suites need pytest and pytest-asyncio, and are imported when they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from micro.testing.leaks import assert_nothing_left
from micro.testing.networks.faults import Fault
from micro.testing.networks.network import Network, network
from micro.testing.networks.record import Call, Listener
from micro.testing.networks.replica import Replica
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
    "Call",
    "CodecConformance",
    "Echo",
    "Fault",
    "KeptBrokerConformance",
    "KeptMailbox",
    "Listener",
    "Mailbox",
    "Network",
    "Recorder",
    "RegistryConformance",
    "Replica",
    "Signal",
    "TransportConformance",
    "assert_nothing_left",
    "network",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module("micro.testing.conformance"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
