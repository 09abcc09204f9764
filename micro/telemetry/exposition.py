"""Samples as text that Prometheus reads, and the joined samples of several processes.

The format is Prometheus's text format, version 0.0.4. Names are those of the samples with
underscores for dots; counters end in `_total` and durations in `_seconds`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from micro.telemetry.durations import BOUNDS_SECONDS
from micro.telemetry.metrics import MetricKind, Sample

__all__ = ["CONTENT_TYPE", "exposition", "join"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_TYPES = {
    MetricKind.COUNTER: "counter",
    MetricKind.GAUGE: "gauge",
    MetricKind.MAXIMUM: "gauge",
    MetricKind.HISTOGRAM: "histogram",
}


@dataclass(slots=True)
class _Family:
    kind: MetricKind
    description: str
    lines: list[str] = field(default_factory=list)


def exposition(samples: Iterable[Sample]) -> str:
    """The text of samples; those of one name stand together, as the format asks."""
    families: dict[str, _Family] = {}
    for sample in samples:
        name = _metric_name(sample)
        family = families.setdefault(name, _Family(sample.kind, sample.description))
        family.lines.extend(_lines(name, sample))
    text: list[str] = []
    for name, family in families.items():
        if family.description:
            text.append(f"# HELP {name} {_escaped(family.description)}")
        text.append(f"# TYPE {name} {_TYPES[family.kind]}")
        text.extend(family.lines)
    return "\n".join(text)


def join(groups: Iterable[Iterable[Sample]]) -> Iterator[Sample]:
    """The samples of several processes as one: see `MetricKind` for how each kind is joined."""
    joined: dict[tuple[str, tuple[tuple[str, str], ...]], Sample] = {}
    for group in groups:
        for sample in group:
            key = (sample.name, tuple(sorted(sample.attributes.items())))
            known = joined.get(key)
            joined[key] = sample if known is None else _joined(known, sample)
    yield from joined.values()


def _joined(one: Sample, other: Sample) -> Sample:
    if one.kind is MetricKind.MAXIMUM:
        return one._replace(value=max(one.value, other.value))
    return one._replace(
        value=one.value + other.value,
        seconds=one.seconds + other.seconds,
        counts=tuple(a + b for a, b in zip(one.counts, other.counts, strict=True)),
    )


def _metric_name(sample: Sample) -> str:
    name = sample.name.replace(".", "_").replace("-", "_")
    if sample.kind is MetricKind.COUNTER:
        return f"{name}_total"
    return f"{name}_seconds" if sample.kind is MetricKind.HISTOGRAM else name


def _lines(name: str, sample: Sample) -> Iterator[str]:
    labels = sample.attributes
    if sample.kind is not MetricKind.HISTOGRAM:
        yield f"{name}{_labels(labels)} {sample.value:.17g}"
        return
    total = 0
    for bound, count in zip((*BOUNDS_SECONDS, float("inf")), sample.counts, strict=True):
        total += count
        le = "+Inf" if bound == float("inf") else f"{bound:g}"
        yield f"{name}_bucket{_labels({**labels, 'le': le})} {total}"
    yield f"{name}_sum{_labels(labels)} {sample.seconds:.17g}"
    yield f"{name}_count{_labels(labels)} {total}"


def _labels(attributes: Mapping[str, str]) -> str:
    if not attributes:
        return ""
    pairs = (f'{name.replace(".", "_")}="{_quoted(value)}"' for name, value in attributes.items())
    return f"{{{','.join(pairs)}}}"


def _quoted(value: str) -> str:
    return _escaped(value).replace('"', r"\"")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
