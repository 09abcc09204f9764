"""What every plugin must do, as test classes to subclass.

    from micro.testing import TransportConformance

    class TestMyTransport(TransportConformance):
        @pytest.fixture
        async def backend(self): ...    # an open Backend

        @pytest.fixture
        async def other(self): ...      # a second one on the same network; may be the same object

pytest-asyncio runs them. Every wait in them has a bound and none of them sleeps.
"""

import pytest

# Before the import of the suites: asserts that fail then show their values.
pytest.register_assert_rewrite(
    "micro.testing.conformance.broker",
    "micro.testing.conformance.closing",
    "micro.testing.conformance.codec",
    "micro.testing.conformance.kept_bench",
    "micro.testing.conformance.kept_durables",
    "micro.testing.conformance.kept_managing",
    "micro.testing.conformance.kept_settling",
    "micro.testing.conformance.kept_storing",
    "micro.testing.conformance.listeners",
    "micro.testing.conformance.pairs",
    "micro.testing.conformance.registry",
    "micro.testing.conformance.sockets",
)

from micro.testing.conformance.broker import BrokerConformance  # noqa: E402  see above
from micro.testing.conformance.codec import CodecConformance  # noqa: E402  see above
from micro.testing.conformance.kept import KeptBrokerConformance  # noqa: E402  see above
from micro.testing.conformance.registry import RegistryConformance  # noqa: E402  see above
from micro.testing.conformance.transport import TransportConformance  # noqa: E402  see above

__all__ = [
    "BrokerConformance",
    "CodecConformance",
    "KeptBrokerConformance",
    "RegistryConformance",
    "TransportConformance",
]
