"""The suite that every broker of stored events passes, over a real server."""

from __future__ import annotations

from micro.testing import KeptBrokerConformance


class TestJetStream(KeptBrokerConformance):
    pass
