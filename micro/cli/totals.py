"""The metrics of all workers together, those that have ended included."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from micro.cli.workers import Worker
from micro.scope import open_scope
from micro.telemetry.exposition import join
from micro.telemetry.metrics import MetricKind, Sample

__all__ = ["Totals"]

_TOTALS = (MetricKind.COUNTER, MetricKind.HISTOGRAM)


class Totals:
    """Joins what workers tell. Counters and histograms never fall when a worker ends.

    Attributes:
        ended: What workers that have ended had counted.
    """

    def __init__(self) -> None:
        self.ended: list[Sample] = []

    def keep(self, worker: Worker) -> None:
        """Keep what a worker that has ended had counted."""
        last = (each for each in worker.samples if each.kind in _TOTALS)
        self.ended = [*join([self.ended, last])]

    async def renew(self, serving: Mapping[str, Worker]) -> Iterable[Sample]:
        """Ask workers for what they have counted; says which of them have answered.

        Args:
            serving: The workers by their names.
        """
        async with open_scope() as scope:
            asked = {name: scope.start(worker.measure()) for name, worker in serving.items()}
            if asked:
                await asyncio.wait(asked.values())
        return [
            Sample(
                "micro.worker.up",
                float(task.result()),
                {"worker": name},
                MetricKind.GAUGE,
                "Whether a worker answered within 0.2 s; 0: its last values are shown.",
            )
            for name, task in asked.items()
        ]
