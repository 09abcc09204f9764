"""What every transport must do."""

from __future__ import annotations

import pytest

from micro.testing.conformance.closing import ClosingConformance
from micro.testing.conformance.listeners import ListenerConformance
from micro.testing.conformance.sockets import SocketConformance

__all__ = ["TransportConformance"]


class TransportConformance(SocketConformance, ClosingConformance, ListenerConformance):
    """Subclass it and give two fixtures, `backend` (listens) and `other` (dials).

    Attributes:
        max_payload: The most bytes that the transport under test takes in one message.
        many: How many sockets to open at once.
    """

    max_payload: int = 1024 * 1024
    many: int = 100

    pytestmark: pytest.MarkDecorator = pytest.mark.asyncio
