"""Generated cases: what they are made of, and how many of them each property gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from micro.message import Message
from tests.faults.conftest import CASES

PROPERTIES = 23
EACH = -(-CASES // PROPERTIES) if CASES else 100
"""Cases for each property, so that all of them together get as many as were asked for."""

_SETTINGS = settings(
    settings.get_profile("faults"), max_examples=EACH, suppress_health_check=list(HealthCheck)
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ANY_TEXT = st.text(max_size=12)
_NAMES = (
    "Micro-Id Micro-ID X-Micro-Id Micro-Endpoint Micro-Method Micro-Service Micro-Stream "
    "Micro-Error Micro-Topic Micro-Signal Micro-Credit Micro-Pieces Micro-Refused "
    "Micro-Retry-After Timeout Content-Type Content-Encoding Accept-Encoding Connection"
)
NAMES = st.sampled_from(_NAMES.split())
_VALUES = (
    "1 2 -1 0 EOS Golden.Award Golden.Tell Golden.Told piece more cancel end credit ping close "
    "gzip zstd application/json application/msgpack text/plain application/json-rpc "
    "application/proto-rpc application/octet-stream 9999999999999999999999 1e999 nan {} []"
)
VALUES = st.sampled_from(_VALUES.split())
HEADERS = st.dictionaries(NAMES | TEXT, VALUES | TEXT, max_size=6)
BODIES = st.binary(max_size=40) | st.just(b'{"user":"ann","points":5}')
MESSAGES = st.builds(Message, HEADERS, BODIES)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


def edited(data: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Good bytes with a few places overwritten, cut out or repeated."""
    edit = st.tuples(st.floats(0, 1), st.integers(0, 8), st.binary(max_size=6))

    def apply(data: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
        for place, cut, new in edits:
            at = int(place * len(data))
            data = data[:at] + new + data[at + cut :]
        return data

    return st.builds(apply, data, st.lists(edit, min_size=1, max_size=4))


class Property(NamedTuple):
    """What is generated, and what must not break on it."""

    cases: st.SearchStrategy[Any]
    check: Callable[[Any], None]


def count_cases(each: Property) -> int:
    """Check a property on its share of all cases; how many it was given."""
    ran = 0

    @_SETTINGS
    @given(each.cases)
    def check(case: Any) -> None:
        nonlocal ran
        ran += 1
        each.check(case)

    check()
    return ran
