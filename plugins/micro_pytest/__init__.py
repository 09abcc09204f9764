"""Fixtures of pytest for services: a network without a server, and real NATS servers.

pytest imports this package in every project that has the distribution installed, so it imports
nothing of the framework before a test asks for a fixture.
"""

from __future__ import annotations

from micro_pytest.fixtures import nats_cluster, nats_server, network, pytest_configure

__all__ = ["nats_cluster", "nats_server", "network", "pytest_configure"]
