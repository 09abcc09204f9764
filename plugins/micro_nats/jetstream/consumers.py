"""Durables as pull consumers: found or created, compared, never changed."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from micro.broker.kept_types import Durable, Start
from micro.errors import Conflict, NotFound, Unsupported
from micro_nats.jetstream.api import Answer, JetStreamApi
from micro_nats.jetstream.errors import CONSUMER_EXISTS, number_of
from micro_nats.jetstream.messages import write_time
from micro_nats.jetstream.streams import nanoseconds

__all__ = ["Consumers", "durable_config", "start_config"]

log = logging.getLogger("micro.nats")

# Events that are given back with a delay count as well; at this number the consumer stands still.
_MAX_UNSETTLED = 20_000
_SEVERAL_FILTERS_VERSION = (2, 10)


def start_config(start: Start) -> dict[str, Any]:
    """Where a new consumer begins."""
    if isinstance(start, datetime):
        return {"deliver_policy": "by_start_time", "opt_start_time": write_time(start)}
    if isinstance(start, int):
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": max(1, start)}
    return {"deliver_policy": start}


def durable_config(name: str, durable: Durable, subjects: list[str]) -> dict[str, Any]:
    """The configuration of a durable's consumer."""
    config: dict[str, Any] = {
        "name": name,
        "durable_name": name,
        "ack_policy": "explicit",
        "ack_wait": nanoseconds(durable.redeliver_after),
        # Attempts are counted by what runs the handlers: a redelivery need not be a failure.
        "max_deliver": -1,
        "max_ack_pending": _MAX_UNSETTLED,
        "replay_policy": "instant",
        **start_config(durable.start),
        **filter_config(subjects),
    }
    if durable.idle:
        config["inactive_threshold"] = nanoseconds(durable.idle)
    return config


def filter_config(subjects: list[str]) -> dict[str, Any]:
    """Which subjects a consumer reads."""
    return {"filter_subject": subjects[0]} if len(subjects) == 1 else {"filter_subjects": subjects}


class Consumers:
    """Consumers on the server.

    Args:
        api: JetStream's API.

    Attributes:
        prefix: What the subjects of the API begin with.
    """

    def __init__(self, api: JetStreamApi) -> None:
        self._api = api
        self.prefix = api.prefix

    async def attach(self, stream: str, config: dict[str, Any]) -> Answer:
        """Find a consumer, or create it.

        Returns:
            What the server says of it.

        Raises:
            NotFound: there is no such stream.
            Unsupported: the server, or a consumer of this name that exists, cannot do this.
            Forbidden, Unavailable, ConnectionLost, DeadlineExceeded: see `JetStreamApi.request`.
        """
        name = config["name"]
        found = await self.find(stream, name)
        if found is None:
            return await self._create(stream, config)
        _check(found["config"], config)
        return found

    async def create(self, stream: str, config: dict[str, Any]) -> Answer:
        """Create a consumer that only this process uses; see `attach` for what is raised."""
        if "filter_subjects" in config:
            self._api.require(_SEVERAL_FILTERS_VERSION, "reading a topic with partitions")
        # `create` never changes a consumer that exists, unlike a request without an action.
        body = {"stream_name": stream, "config": config, "action": "create"}
        doing = f"reading the stream {stream!r}"
        return await self._api.request(
            f"CONSUMER.CREATE.{stream}.{config['name']}", body, doing=doing
        )

    async def delete(self, stream: str, name: str) -> None:
        """Remove a consumer.

        Raises:
            NotFound: there is no such consumer or stream.
        """
        doing = f"removing the position {name!r}"
        await self._api.request(f"CONSUMER.DELETE.{stream}.{name}", doing=doing)

    async def names(self, stream: str) -> list[str]:
        """The names of all consumers of a stream."""
        found: list[str] = []
        while True:
            answer = await self._api.request(
                f"CONSUMER.NAMES.{stream}",
                {"offset": len(found)},
                doing=f"listing the positions on {stream!r}",
            )
            page = answer.get("consumers") or []
            found += page
            if not page or len(found) >= answer.get("total", 0):
                return found

    async def find(self, stream: str, name: str) -> Answer | None:
        """What the server says of a consumer; `None` where there is none."""
        doing = f"looking at the position {name!r}"
        try:
            return await self._api.request(f"CONSUMER.INFO.{stream}.{name}", doing=doing)
        except NotFound:
            return None

    async def _create(self, stream: str, config: dict[str, Any]) -> Answer:
        name = config["name"]
        try:
            answer = await self.create(stream, config)
        except Conflict as error:
            if number_of(error) not in CONSUMER_EXISTS:
                raise
            # Another instance was faster.
            found = await self.find(stream, name)
            if found is None:
                raise
            _check(found["config"], config)
            return found
        log.info(
            "created the position %r on the stream %r: %d events wait",
            name,
            stream,
            answer.get("num_pending", 0),
        )
        return answer


def _check(have: dict[str, Any], want: dict[str, Any]) -> None:
    """Compare a consumer that exists with what is asked for.

    Raises:
        Unsupported: it cannot be used.
    """
    name = want["name"]
    if have.get("deliver_subject") or have.get("ack_policy") != "explicit":
        raise Unsupported(
            f"the consumer {name!r} exists and is no durable of this framework (it is push-based or"
            f" does not ask for acknowledgements): choose another name"
        )
    if _subjects(have) != _subjects(want):
        raise Unsupported(
            f"the position {name!r} exists and reads {_subjects(have)}, not {_subjects(want)}:"
            f" choose another name, or remove it with `micro topics forget`"
        )
    if have.get("ack_wait") != want["ack_wait"]:
        log.warning(
            "the position %r redelivers after %g s, asked for %g s: the first holds",
            name,
            have.get("ack_wait", 0) / 1e9,
            want["ack_wait"] / 1e9,
        )
    if have.get("max_deliver", -1) != want["max_deliver"]:
        log.warning("the position %r stops after %s deliveries", name, have.get("max_deliver"))


def _subjects(config: dict[str, Any]) -> list[str]:
    return sorted(config.get("filter_subjects") or [config.get("filter_subject") or ">"])
