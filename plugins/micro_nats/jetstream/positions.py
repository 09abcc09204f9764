"""How far the durables of a stream are."""

from __future__ import annotations

from datetime import datetime

from micro.broker.kept_types import Position
from micro.errors import NotFound
from micro_nats.jetstream.api import Answer, JetStreamApi
from micro_nats.jetstream.messages import read_time
from micro_nats.jetstream.names import durable_of

__all__ = ["read_positions"]


async def read_positions(api: JetStreamApi, stream: str) -> tuple[Position, ...]:
    """The positions of every durable on a stream.

    Raises:
        NotFound, Forbidden, Unavailable, ConnectionLost, DeadlineExceeded: see
            `JetStreamApi.request`.
    """
    consumers = await _consumers(api, stream)
    groups = _by_durable(consumers).items()
    return tuple([await _position(api, stream, durable, group) for durable, group in groups])


async def _consumers(api: JetStreamApi, stream: str) -> list[Answer]:
    found: list[Answer] = []
    while True:
        # The server answers in pages.
        answer = await api.request(
            f"CONSUMER.LIST.{stream}",
            {"offset": len(found)},
            doing=f"listing the positions on {stream!r}",
        )
        page = answer.get("consumers") or []
        found += page
        if not page or len(found) >= answer.get("total", 0):
            return [each for each in found if each["config"].get("durable_name")]


async def _position(
    api: JetStreamApi, stream: str, durable: str, consumers: list[Answer]
) -> Position:
    waiting = sum(each.get("num_pending", 0) for each in consumers)
    unsettled = sum(each.get("num_ack_pending", 0) for each in consumers)
    oldest = [
        await _oldest(api, stream, each)
        for each in consumers
        if each.get("num_pending") or each.get("num_ack_pending")
    ]
    times = [each for each in oldest if each is not None]
    return Position(
        durable=durable,
        waiting=waiting,
        unsettled=unsettled,
        oldest=min(times) if times else None,
        paused_until=_paused_until(consumers),
    )


def _paused_until(consumers: list[Answer]) -> datetime | None:
    """When the last of a durable's paused consumers goes on."""
    ends = [read_time(each["config"]["pause_until"]) for each in consumers if each.get("paused")]
    return max(ends, default=None)


async def _oldest(api: JetStreamApi, stream: str, consumer: Answer) -> datetime | None:
    """When the first event above a consumer's floor was stored."""
    config = consumer["config"]
    subjects = config.get("filter_subjects") or [config.get("filter_subject") or ">"]
    times = []
    for subject in subjects:
        body = {"seq": consumer["ack_floor"]["stream_seq"] + 1, "next_by_subj": subject}
        try:
            answer = await api.request(
                f"STREAM.MSG.GET.{stream}", body, doing="looking for the oldest event"
            )
        except NotFound:
            continue
        times.append(read_time(answer["message"]["time"]))
    return min(times) if times else None


def _by_durable(consumers: list[Answer]) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = {}
    for each in consumers:
        found.setdefault(durable_of(each["name"]), []).append(each)
    return found
