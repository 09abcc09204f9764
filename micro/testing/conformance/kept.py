"""What every broker that stores events must do."""

from __future__ import annotations

import pytest

from micro.testing.conformance.kept_durables import DurableConformance
from micro.testing.conformance.kept_managing import ManagingConformance
from micro.testing.conformance.kept_settling import SettlingConformance
from micro.testing.conformance.kept_storing import StoringConformance

__all__ = ["KeptBrokerConformance"]


class KeptBrokerConformance(
    StoringConformance, DurableConformance, SettlingConformance, ManagingConformance
):
    """Subclass it and give two fixtures, `backend` (reads) and `other` (stores).

    A test of something that `features` lacks is skipped. Set `clock` in the fixture where the
    broker has a VirtualClock; otherwise the tests wait for real time, half a second each at most.

    Attributes:
        clock: The time of the broker under test.
        max_payload: The most bytes that the broker under test takes in one message.
        bound: The most seconds that one wait may take.
        lease: Seconds after which the tests let a delivery be given to another.
    """

    pytestmark: pytest.MarkDecorator = pytest.mark.asyncio
