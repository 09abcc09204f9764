"""The permissions that stored events need."""

from __future__ import annotations

from micro_nats.access import Access, Capability, Rule

__all__ = ["KEPT_RULES"]

KEPT_RULES: tuple[Rule, ...] = (
    Rule(
        capability=Capability.STORE,
        access=Access.PUBLISH,
        subjects=("{namespace}{stored}", "{namespace}{stored}.*"),
        reason="events that it stores, with and without a partition",
    ),
    Rule(
        capability=Capability.STORE,
        access=Access.PUBLISH,
        subjects=(
            "{namespace}micro.to.*.{stored}",
            "{namespace}micro.to.*.{stored}.*",
            "{namespace}micro.at.*.{stored}",
            "{namespace}micro.wait.*.{stored}",
        ),
        reason="events for one durable only, and events for later",
    ),
    Rule(
        capability=Capability.STORE,
        access=Access.PUBLISH,
        subjects=("{api}.STREAM.INFO.{stored_stream}", "{api}.STREAM.CREATE.{stored_stream}"),
        reason="kept topics, which it creates where they are absent",
    ),
    Rule(
        capability=Capability.STORE,
        access=Access.SUBSCRIBE,
        subjects=("{inbox}.>",),
        reason="receipts of stored events",
    ),
    Rule(
        capability=Capability.READ,
        access=Access.PUBLISH,
        subjects=(
            "{api}.STREAM.INFO.{durable_stream}",
            "{api}.CONSUMER.INFO.{durable_stream}.*",
            "{api}.CONSUMER.CREATE.{durable_stream}.>",
            "{api}.CONSUMER.DELETE.{durable_stream}.*",
            "{api}.CONSUMER.MSG.NEXT.{durable_stream}.*",
        ),
        reason="positions on kept topics",
    ),
    Rule(
        capability=Capability.READ,
        access=Access.PUBLISH,
        # From nats-server 2.15 on the stream may not be the next token.
        subjects=("$JS.ACK.>",),
        reason="acknowledgements of stored events",
    ),
    Rule(
        capability=Capability.READ,
        access=Access.SUBSCRIBE,
        subjects=("{inbox}.>",),
        reason="stored events",
    ),
)
