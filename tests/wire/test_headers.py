"""The RPC protocol's headers."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.deadline import Deadline
from micro.errors import (
    Cancelled,
    DeadlineExceeded,
    InternalError,
    MicroError,
    NotFound,
    ResourceExhausted,
)
from micro.wire.headers import (
    CONTENT_TYPE,
    CREDIT,
    ENDPOINT,
    EOS,
    ERROR,
    ID,
    METHOD,
    REFUSED,
    RETRY_AFTER,
    SERVICE,
    SIGNAL,
    STREAM,
    TIMEOUT,
    TOPIC,
    application_headers,
    canonical,
    credit_from,
    deadline_from,
    error_from,
    error_headers,
    event_headers,
    is_native,
    ping_headers,
    reply_headers,
    request_headers,
    set_id,
    stream_reply_headers,
    timeout_of,
)

OURS = (SERVICE, METHOD, ENDPOINT, ID, STREAM, ERROR, TOPIC, TIMEOUT, CONTENT_TYPE)
names = st.one_of(st.sampled_from(OURS), st.sampled_from(OURS).map("X-".__add__), st.text())
headers = st.dictionaries(names, st.text())
cased = st.dictionaries(
    st.sampled_from(OURS).flatmap(lambda n: st.sampled_from([n, n.lower(), n.upper()])), st.text()
)


@given(headers)
def test_canonical_headers_stay_as_they_are(given: dict[str, str]) -> None:
    once = canonical(given)

    assert canonical(once) == once


@given(cased)
def test_the_protocols_names_are_found_in_any_case(given: dict[str, str]) -> None:
    found = canonical(given)

    assert set(found) <= set(OURS)
    assert {name.lower() for name in found} == {name.lower() for name in given}


@pytest.mark.parametrize("order", [1, -1])
def test_a_name_wins_over_its_x_twin(order: int) -> None:
    both = {ID: "mine", "X-Micro-Id": "twin"}
    found = canonical(dict(list(both.items())[::order]))

    assert found == {ID: "mine"}


def test_an_x_twin_alone_is_taken() -> None:
    assert canonical({"x-micro-service": "points"}) == {SERVICE: "points"}


def test_headers_of_the_applications_own_keep_their_spelling() -> None:
    assert canonical({"X-Zone": "a", "traceparent": "00"}) == {"X-Zone": "a", "traceparent": "00"}


@given(headers)
def test_only_the_applications_headers_are_handed_on(given: dict[str, str]) -> None:
    kept = application_headers({**given, SIGNAL: "cancel", REFUSED: "1", "micro-credit": "1"})

    assert not set(canonical(kept)) & {*OURS, SIGNAL, REFUSED, "micro-credit"}
    assert all(given[name] == value for name, value in kept.items())


@given(st.floats(min_value=1e-6, max_value=1e6))
def test_a_timeout_survives_the_wire(seconds: float) -> None:
    headers = {TIMEOUT: timeout_of(Deadline.after(seconds))}
    deadline = deadline_from(headers, time.monotonic())

    assert deadline is not None
    assert deadline.remaining() == pytest.approx(seconds, abs=0.5)
    assert deadline.remaining() <= seconds


def test_a_deadline_that_has_passed_still_says_so() -> None:
    assert timeout_of(Deadline.after(-1)) == "1"


@given(st.text())
def test_no_timeout_breaks_the_reading(text: str) -> None:
    deadline = deadline_from({TIMEOUT: text}, time.monotonic())

    assert deadline is None or deadline.remaining() <= 10 * 366 * 24 * 3600


@pytest.mark.parametrize("text", ["", "soon", "-5", "0", "1.5", "9" * 5000])
def test_a_timeout_without_sense_is_none(text: str) -> None:
    assert deadline_from({TIMEOUT: text}, time.monotonic()) is None


def test_an_endless_timeout_is_cut_to_ten_years() -> None:
    deadline = deadline_from({TIMEOUT: "9" * 4000}, time.monotonic())

    assert deadline is not None
    assert deadline.at - time.monotonic() == pytest.approx(10 * 365 * 24 * 3600, abs=1)


@given(st.text())
def test_no_credit_breaks_the_reading(text: str) -> None:
    assert 0 <= credit_from({CREDIT: text}) < 10**9


@pytest.mark.parametrize(
    ("text", "items"), [("256", 256), ("²", 0), ("-1", 0), ("", 0), ("9" * 99, 999_999_999)]
)
def test_credit_is_a_plain_number_or_none_at_all(text: str, items: int) -> None:
    assert credit_from({CREDIT: text}) == items


def test_no_credit_header_grants_nothing() -> None:
    assert credit_from({}) == 0


@given(st.text(), st.integers(min_value=1, max_value=999), st.booleans())
def test_an_error_survives_the_wire(detail: str, code: int, refused: bool) -> None:
    sent = MicroError(detail, code=code, id="points", refused=refused)
    got = error_from(error_headers({ID: "1"}, sent))

    assert got is not None
    assert (got.detail, got.code, got.id, got.refused) == (detail, code, "points", refused)


def test_when_to_try_again_survives_the_wire() -> None:
    sent = ResourceExhausted("busy", retry_after=0.25, refused=True)
    got = error_from(error_headers({ID: "1"}, sent))

    assert isinstance(got, ResourceExhausted)
    assert got.retry_after == 0.25


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "soon", ""])
def test_a_pause_without_sense_is_none(text: str) -> None:
    headers = {**error_headers({ID: "1"}, NotFound("no")), RETRY_AFTER: text}
    error = error_from(headers)

    assert error is not None
    assert error.retry_after is None


@given(headers)
def test_no_headers_break_the_reading_of_an_error(given: dict[str, str]) -> None:
    error = error_from(given)

    assert (error is None) == (not given.get(ERROR))


def test_a_success_carries_no_error() -> None:
    assert error_from(reply_headers({ID: "1"}, "text/plain")) is None


def test_a_native_request_says_the_endpoint_and_the_content_type_only() -> None:
    headers = request_headers("points", "Points.Award", "application/json", native=True)

    assert headers == {ENDPOINT: "Points.Award", CONTENT_TYPE: "application/json"}


def test_a_request_to_go_micro_has_all_that_it_looks_at() -> None:
    headers = request_headers("points", "Points.Award", "application/json", native=False)
    set_id(headers, "7", native=False)

    assert headers[SERVICE] == "points"
    assert headers[METHOD] == headers[ENDPOINT] == "Points.Award"
    assert headers[ID] == headers["Micro-ID"] == "7"


def test_a_reply_speaks_the_dialect_of_its_request() -> None:
    native = reply_headers({ID: "7"}, "text/plain")
    go_micro = reply_headers({ID: "7", METHOD: "Points.Award"}, "text/plain")

    assert native == {ID: "7", CONTENT_TYPE: "text/plain"}
    assert go_micro["X-Micro-ID"] == go_micro["Micro-ID"] == go_micro[ID] == "7"


def test_a_go_micro_client_finds_its_own_headers_in_each_item_of_a_stream() -> None:
    request = request_headers("points", "Points.History", "application/json", native=False)
    item = stream_reply_headers({**request, ID: "7"}, "application/json")

    assert item[SERVICE] == item["X-Micro-Service"] == "points"


def test_the_end_of_a_stream_is_a_word_of_go_micros() -> None:
    assert error_headers({ID: "7"}, EOS) == {ID: "7", ERROR: "EOS"}
    assert error_headers({ID: "7", METHOD: "A.B"}, EOS)["X-Micro-Error"] == "EOS"


def test_a_ping_to_go_micro_has_a_topic_and_one_between_us_a_signal() -> None:
    assert ping_headers("", native=True) == {ID: "", SIGNAL: "ping"}
    assert TOPIC in ping_headers("", native=False)


def test_an_event_says_its_topic_id_and_content_type() -> None:
    headers = event_headers("orders.created", "7", "application/json")

    assert canonical(headers) == {
        TOPIC: "orders.created",
        ID: "7",
        CONTENT_TYPE: "application/json",
    }


def test_a_node_is_native_when_its_metadata_says_so() -> None:
    assert is_native({"native": "1"})
    assert not is_native({"native": "2"})
    assert not is_native({})


@pytest.mark.parametrize(
    ("text", "cls"),
    [
        ("context deadline exceeded", DeadlineExceeded),
        ("call points: context deadline exceeded", DeadlineExceeded),
        ('{"id":"go","code":500,"detail":"context deadline exceeded"}', DeadlineExceeded),
        ("context canceled", Cancelled),
        ("the context deadline exceeded my patience", InternalError),
    ],
)
def test_gos_own_words_are_understood(text: str, cls: type[MicroError]) -> None:
    assert type(error_from({ERROR: text})) is cls
