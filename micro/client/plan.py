"""What a call needs that depends on its names and types alone: worked out once, and kept."""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import dataclass
from types import NoneType
from typing import Any

from micro.codec import Codecs
from micro.codec.contract import Decoder, Encoder
from micro.errors import BadRequest, InternalError
from micro.message import Message
from micro.names import check_endpoint, check_service
from micro.wire.headers import CONTENT_TYPE, EMPTY_OBJECT, request_headers

__all__ = ["Plan", "Plans"]

_MOST_PLANS = 4096
_JSON = "application/json"


@dataclass(slots=True)
class Plan:
    """How to write requests to one endpoint, and how to read its answers.

    Attributes:
        service: The service's name.
        endpoint: The endpoint's name.
        content_type: How requests are written.
        encode: Writes a request.
        decode: Reads an answer of the same content type.
        native: The headers that every request to a native peer shares.
        foreign: The same for a go-micro peer.
        response_type: What answers are read as.
        empty: The body for a peer that does not read `null`, when the request is `None`.
    """

    service: str
    endpoint: str
    content_type: str
    encode: Encoder
    decode: Decoder
    native: dict[str, str]
    foreign: dict[str, str]
    response_type: Any
    empty: bytes | None = None


class Plans:
    """Plans by what they depend on.

    Args:
        codecs: Writes and reads bodies.
        content_type: How requests are written where a call does not say.
    """

    def __init__(self, codecs: Codecs, content_type: str) -> None:
        self._codecs = codecs
        self._content_type = content_type
        self._kept: dict[Any, Plan] = {}

    def get(
        self, service: str, endpoint: str, sent: Any, response_type: Any, content_type: str | None
    ) -> Plan:
        """The plan for requests of the class `sent`.

        Raises:
            InvalidName: the service's or endpoint's name cannot be used.
            BadRequest: with code 415, the content type is not known.
            CodecError: the codec cannot carry the types.
        """
        key = (service, endpoint, sent, response_type, content_type)
        try:
            plan = self._kept.get(key)
        except TypeError:  # a type that cannot be hashed is planned anew each time
            return self._make(*key)
        if plan is None:
            plan = self._make(*key)
            if len(self._kept) < _MOST_PLANS:
                self._kept[key] = plan
        return plan

    def decode(self, plan: Plan, reply: Message) -> Any:
        """Read an answer, whatever its content type.

        Raises:
            InternalError: it does not fit the type; this is not the fault of our own caller.
        """
        content_type = reply.headers.get(CONTENT_TYPE, plan.content_type)
        try:
            if content_type == plan.content_type:
                return plan.decode(reply.body)
            return self._codecs.decoder_for(content_type, plan.response_type)(reply.body)
        except BadRequest as error:
            raise InternalError(
                f"the answer of {plan.endpoint} cannot be read: {error.detail}", id="micro.client"
            ) from error

    def _make(
        self, service: str, endpoint: str, sent: Any, response_type: Any, content_type: str | None
    ) -> Plan:
        kind = content_type or self._content_type
        if response_type is None:
            response_type = NoneType
        check_service(service)
        check_endpoint(endpoint)
        many = issubclass(sent, AsyncIterable)
        return Plan(
            service=service,
            endpoint=endpoint,
            content_type=kind,
            encode=self._codecs.encoder_for(kind, Any if many else sent),
            decode=self._codecs.decoder_for(kind, response_type),
            native=request_headers(service, endpoint, kind, native=True),
            foreign=request_headers(service, endpoint, kind, native=False),
            response_type=response_type,
            empty=EMPTY_OBJECT if sent is NoneType and kind == _JSON else None,
        )
