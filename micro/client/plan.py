"""What a call needs that depends on its names and types alone: made once, and kept."""

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

__all__ = ["CallPlan", "PlanCache"]

_MAX_PLANS = 4096
_JSON = "application/json"


@dataclass(slots=True)
class CallPlan:
    """How to write requests to one endpoint, and how to read its answers.

    Attributes:
        service: The service's name.
        endpoint: The endpoint's name.
        content_type: How requests are written.
        encode: Writes a request; for a stream of requests, each of them.
        decode: Reads an answer of the same content type.
        native: The headers that every request to a native peer shares.
        go_micro: The same for a go-micro peer.
        response_type: What answers are read as.
        empty: The body for a peer that does not read `null`, when the request is `None`.
    """

    service: str
    endpoint: str
    content_type: str
    encode: Encoder
    decode: Decoder
    native: dict[str, str]
    go_micro: dict[str, str]
    response_type: Any
    empty: bytes | None = None


class PlanCache:
    """Plans by what they depend on.

    Args:
        codecs: Writes and reads bodies.
        content_type: How requests are written where a call does not say.
    """

    def __init__(self, codecs: Codecs, content_type: str) -> None:
        self._codecs = codecs
        self._content_type = content_type
        self._plans: dict[Any, CallPlan] = {}

    def get(
        self, service: str, endpoint: str, sent: Any, response_type: Any, content_type: str | None
    ) -> CallPlan:
        """The plan for requests of the class `sent`.

        Raises:
            InvalidName: the service's or endpoint's name cannot be used.
            BadRequest: with code 415, the content type is not known.
            CodecError: the codec cannot carry the types.
        """
        key = (service, endpoint, sent, response_type, content_type)
        try:
            plan = self._plans.get(key)
        except TypeError:  # a type without a hash is planned anew each time
            return self._make(*key)
        if plan is None:
            plan = self._make(*key)
            if len(self._plans) < _MAX_PLANS:
                self._plans[key] = plan
        return plan

    def decode(self, plan: CallPlan, reply: Message) -> Any:
        """Read an answer, whatever its content type.

        Raises:
            InternalError: it does not fit the type, which is no fault of the caller's.
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

    def encoder_of_each(self, content_type: str) -> Encoder:
        """What writes values by the class of each, as the requests of a stream are."""
        codecs = self._codecs

        def encode(value: Any) -> bytes:
            return codecs.encoder_for(content_type, type(value))(value)

        return encode

    def _make(
        self, service: str, endpoint: str, sent: Any, response_type: Any, content_type: str | None
    ) -> CallPlan:
        kind = content_type or self._content_type
        if response_type is None:
            response_type = NoneType
        check_service(service)
        check_endpoint(endpoint)
        many = issubclass(sent, AsyncIterable)
        return CallPlan(
            service=service,
            endpoint=endpoint,
            content_type=kind,
            encode=self.encoder_of_each(kind) if many else self._codecs.encoder_for(kind, sent),
            decode=self._codecs.decoder_for(kind, response_type),
            native=request_headers(service, endpoint, kind, native=True),
            go_micro=request_headers(service, endpoint, kind, native=False),
            response_type=response_type,
            empty=EMPTY_OBJECT if sent is NoneType and kind == _JSON else None,
        )
