"""The three answers of the NATS services protocol, as JSON. Source: NATS ADR-32."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from micro.backend import EndpointView, ServiceView
from micro_nats.services.names import QUEUE, request_subject, token, version

__all__ = ["Responses"]

_NANOSECONDS = 1_000_000_000


class Responses:
    """Answers for one node.

    Args:
        view: The service and its node.
        namespace: What the subjects of requests begin with; empty for nothing.
    """

    def __init__(self, view: ServiceView, namespace: str) -> None:
        self._view = view
        self._namespace = namespace
        self._started = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._identity = {
            "name": token(view.name),
            "id": view.node,
            "version": version(view.version),
            "metadata": {**view.metadata, "micro.name": view.name, "micro.version": view.version},
        }
        self._fixed = {
            "PING": _encode({"type": "io.nats.micro.v1.ping_response", **self._identity}),
            "INFO": _encode(
                {
                    "type": "io.nats.micro.v1.info_response",
                    **self._identity,
                    "description": "",
                    "endpoints": [self._described(each) for each in view.endpoints],
                }
            ),
        }

    def answer(self, verb: str) -> bytes:
        """The answer to PING, INFO or STATS."""
        return self._fixed.get(verb) or self._stats()

    def _described(self, endpoint: EndpointView) -> Mapping[str, object]:
        return {
            **self._place(endpoint),
            "metadata": {**endpoint.metadata, "micro.endpoint": endpoint.name},
        }

    def _place(self, endpoint: EndpointView) -> Mapping[str, object]:
        return {
            "name": token(endpoint.name),
            "subject": request_subject(self._namespace, self._view.name, endpoint.name),
            "queue_group": QUEUE,
        }

    def _stats(self) -> bytes:
        return _encode(
            {
                "type": "io.nats.micro.v1.stats_response",
                **self._identity,
                "started": self._started,
                "endpoints": [self._counted(each) for each in self._view.endpoints],
            }
        )

    def _counted(self, endpoint: EndpointView) -> Mapping[str, object]:
        counted = endpoint.read_stats()
        total = int(counted.seconds * _NANOSECONDS)
        return {
            **self._place(endpoint),
            "num_requests": counted.requests,
            "num_errors": counted.errors,
            "last_error": counted.last_error,
            "processing_time": total,
            "average_processing_time": total // counted.requests if counted.requests else 0,
        }


def _encode(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
