"""The kept topics that a client or a service uses: made where they are absent, and checked once."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Literal

from micro.broker.contract import Broker
from micro.broker.kept import KeptBroker
from micro.broker.kept_types import TopicSpec
from micro.errors import ConfigError, Unsupported
from micro.topic import Topic

__all__ = ["KeptPolicy", "KeptTopics", "OnDrift"]

_log = logging.getLogger("micro.events")

OnDrift = Literal["ignore", "warn", "fail"]
"""What a start does where a topic is kept in another way than the code says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPolicy:
    """What the settings say of kept topics.

    Attributes:
        timeout: Seconds until the broker must have an event where its publisher does not say.
        allow_unbounded: Accept topics without a limit of bytes or events.
        on_drift: What to do where the broker keeps a topic in another way than the code says.
    """

    timeout: float = 5.0
    allow_unbounded: bool = False
    on_drift: OnDrift = "warn"


class KeptTopics:
    """Makes kept topics where they are absent, each once; it never changes one that exists.

    Args:
        broker: The broker; one that stores nothing is refused at the first use.
        policy: What the settings say.

    Attributes:
        policy: What the settings say.
    """

    def __init__(self, broker: Broker, policy: KeptPolicy | None = None) -> None:
        self._broker = broker
        self.policy: KeptPolicy = policy or KeptPolicy()
        self._ready: dict[str, TopicSpec] = {}
        self._lock = asyncio.Lock()

    @property
    def broker(self) -> KeptBroker:
        """The broker.

        Raises:
            Unsupported: it stores no events.
        """
        if isinstance(self._broker, KeptBroker):
            return self._broker
        raise Unsupported(
            "this broker stores no events: use one that does (the NATS plugin with a server that"
            " has JetStream, or the memory plugin), or make the topic without keep="
        )

    async def ensure(self, topic: Topic[Any]) -> None:
        """Make a kept topic if it is absent; the first call for it asks the broker.

        Raises:
            ConfigError: it has no limit and the setting `allow_unbounded` is off, or it is kept in
                another way and the setting `on_drift` is `fail`.
            Unsupported: the broker cannot keep it in this way.
            NotFound: it names a stream of its own that does not exist.
            Forbidden, Unavailable: the broker does not do it, or not now.
        """
        spec = topic.spec
        if self._ready.get(spec.name) is spec:
            return
        if not (self.policy.allow_unbounded or spec.bytes or spec.messages):
            raise ConfigError(
                f"{topic.place}: topic {topic.name!r} is kept without a limit and could fill the"
                " disk: write Keep(bytes='10GiB'), or set allow_unbounded"
            )
        await self.ensure_spec(spec, place=topic.place)

    async def ensure_spec(self, spec: TopicSpec, *, place: str = "the framework") -> None:
        """Make a topic of the framework's own if it is absent; see `ensure`.

        Args:
            spec: How it is kept.
            place: Where the code is that asks for it, for the texts.
        """
        async with self._lock:
            if self._ready.get(spec.name) == spec:
                self._ready[spec.name] = spec
                return
            # A stream of a platform team is used as it is.
            state = await self.broker.ensure(spec, create=not spec.place)
            if state.differences:
                self._tell_drift(spec, place, state.differences)
            self._ready[spec.name] = spec

    def forget(self, topic: Topic[Any]) -> None:
        """Ask the broker again at the next use: someone has removed the topic."""
        self._ready.pop(topic.name, None)

    def _tell_drift(self, spec: TopicSpec, place: str, differences: tuple[str, ...]) -> None:
        text = (
            f"topic {spec.name!r} ({place}) is kept in another way than the code says: "
            f"{'; '.join(differences)}. It is used as it is; `micro topics plan` shows the change"
        )
        if self.policy.on_drift == "fail":
            raise ConfigError(text)
        if self.policy.on_drift == "warn":
            _log.warning("%s", text)
