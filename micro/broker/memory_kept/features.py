"""What the in-memory broker can do: everything, except to outlive its process."""

from __future__ import annotations

import math

from micro.broker.kept_types import Features, Survives

__all__ = ["FEATURES"]

FEATURES = Features(
    retained=True,
    work_queue=True,
    start_all=True,
    dedup_window=True,
    delay_max=math.inf,
    nack_delay=True,
    counts_deliveries=True,
    extend=True,
    replay=True,
    partitions=True,
    refuse_when_full=True,
    durable_group=True,
    survives=Survives.PROCESS,
)
