"""Samples as Prometheus reads them, and the samples of several processes as one."""

from __future__ import annotations

from micro.telemetry.durations import BOUNDS_SECONDS, Durations
from micro.telemetry.exposition import exposition, join
from micro.telemetry.metrics import MetricKind, Metrics, Sample


def lines(*samples: Sample) -> list[str]:
    return exposition(samples).splitlines()


def test_a_counter_has_its_type_its_help_and_a_name_that_ends_in_total() -> None:
    assert lines(Sample("micro.client.calls", 7, description="Calls made.")) == [
        "# HELP micro_client_calls_total Calls made.",
        "# TYPE micro_client_calls_total counter",
        "micro_client_calls_total 7",
    ]


def test_samples_of_one_name_stand_together() -> None:
    gauge, counter = Sample("b", 1, kind=MetricKind.GAUGE), Sample("a", 1)
    twice = Sample("b", 2, {"x": "y"}, kind=MetricKind.GAUGE)

    assert lines(gauge, counter, twice)[:3] == ["# TYPE b gauge", "b 1", 'b{x="y"} 2']


def test_what_could_end_a_label_is_escaped() -> None:
    hostile = Sample("b", 1, {"peer": 'a"b\\c\nd'}, kind=MetricKind.GAUGE)

    assert lines(hostile)[-1] == r'b{peer="a\"b\\c\nd"} 1'


def test_the_buckets_of_a_histogram_add_up() -> None:
    metrics = Metrics()
    calls = metrics.calls_of("Points.Award")
    for seconds in (0.0004, 0.003, 0.003, 99.0):
        calls.observe(seconds, 0)

    text = exposition(each for each in metrics.samples() if each.kind is MetricKind.HISTOGRAM)

    label = 'rpc_method="Points.Award"'
    name = "rpc_server_call_duration_seconds"
    assert f'{name}_bucket{{{label},le="0.0005"}} 1\n' in text
    assert f'{name}_bucket{{{label},le="0.005"}} 3\n' in text
    assert f'{name}_bucket{{{label},le="10"}} 3\n' in text
    assert f'{name}_bucket{{{label},le="+Inf"}} 4\n' in text
    assert f"{name}_count{{{label}}} 4" in text
    assert f"{name}_sum{{{label}}} 99.006" in text


def test_failures_have_histograms_of_their_own_up_to_a_bound() -> None:
    durations = Durations()
    for code in range(1, 1000):
        durations.observe(0.1, code)

    errors = {error: sum(histogram.counts) for error, histogram in durations}

    assert errors["1"] == 1
    assert len(errors) == 34
    assert errors["_OTHER"] == 1000 - 1 - 32


def test_processes_are_joined_by_kind() -> None:
    counts = (1,) * (len(BOUNDS_SECONDS) + 1)
    histogram = Sample("h", 15, kind=MetricKind.HISTOGRAM, counts=counts, seconds=2.0)
    one = [Sample("c", 1), Sample("m", 5, kind=MetricKind.MAXIMUM), histogram]
    other = [Sample("c", 2), Sample("m", 3, kind=MetricKind.MAXIMUM), histogram]

    joined = {each.name: each for each in join([one, other, [Sample("c", 9, {"x": "y"})]])}
    values = [each.value for each in join([one, other]) if each.name == "c"]

    assert values == [3]
    assert joined["m"].value == 5
    assert joined["h"].counts == tuple(2 * each for each in counts)
    assert joined["h"].seconds == 4.0
