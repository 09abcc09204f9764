"""What a server sends back: values, headers and errors, made so that they can be sent.

Every call ends in an answer. What cannot be encoded or sent becomes an error that can, and the
log says what it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from copy import copy
from types import NoneType
from typing import Any

from micro.codec.contract import Encoder
from micro.errors import CodecError, InternalError, MicroError, PayloadTooLarge
from micro.message import Message
from micro.server.call import Call
from micro.wire.headers import (
    EMPTY_OBJECT,
    ENDPOINT,
    ID,
    METHOD,
    SERVICE,
    STREAM,
    application_headers,
    error_headers,
)

__all__ = [
    "ReplyTooLarge",
    "UnsendableReply",
    "as_answer",
    "encode_response",
    "own_headers",
    "send_error",
]

_log = logging.getLogger("micro.server")
_MAX_ECHO_CHARACTERS = 1024
_NULL = b"null\n"


class UnsendableReply(Exception):
    """A handler's response or one of its headers cannot be encoded; the text says which and why."""


class ReplyTooLarge(PayloadTooLarge):
    """413: a handler's response, with its headers, is over the transport's limit."""


def encode_response(encode: Encoder, response: Any, call: Call) -> bytes:
    """Encode a handler's response; one that does not fit its type is not the client's fault.

    Args:
        encode: The encoder.
        response: The response.
        call: The call that it answers.

    Raises:
        UnsendableReply: it cannot be encoded.
    """
    try:
        body = encode(response)
    except CodecError as error:
        raise UnsendableReply(f"the response cannot be encoded: {error.detail}") from error
    if response is None and METHOD in call.headers and body == _NULL:
        # go-micro cannot read null as every type; what may also be a value stays null.
        return EMPTY_OBJECT if call.mounted.endpoint.response_type is NoneType else body
    return body


def own_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The reply headers that a handler and its layers set, without the protocol's own.

    Raises:
        UnsendableReply: a name or a value is not text; untyped code can set anything.
    """
    for name, value in headers.items():
        try:
            name.encode()
            value.encode()
        except (AttributeError, UnicodeError):
            name_is_text, value_is_text = isinstance(name, str), isinstance(value, str)
            reason = "it is not valid Unicode"
            if not name_is_text or not value_is_text:
                wrong = value if name_is_text else name
                reason = f"headers are text, not {type(wrong).__name__}"
            raise UnsendableReply(f"reply header {name!r} cannot be sent: {reason}") from None
    return application_headers(headers)


def as_answer(error: MicroError, service: str) -> MicroError:
    """A copy of a handler's error, fit to be its answer; the user's own object stays as it is.

    The call did run, whatever a nested call was told.
    """
    answer = copy(error)
    vars(answer).update(id=error.id or service, refused=False)
    return answer


def send_error(
    send: Callable[[Message], None], request: Mapping[str, str], error: MicroError, service: str
) -> None:
    """Answer a request with an error, or with a plain 500 when that cannot be sent; never raises.

    Args:
        send: Sends one frame.
        request: The request's headers.
        error: What to tell the caller.
        service: Who says so.
    """
    try:
        send(Message(error_headers(request, error), b""))
    except Exception as problem:
        # A detail may be of any size and, in untyped code, of any class.
        name = request.get(ENDPOINT) or request.get(METHOD, "")
        text = f"{type(problem).__name__}: {problem}"
        _log.error("%s: a %s could not be sent: %.500s", name, type(error).__name__, text)
        _send_plain(send, request, service)


def _send_plain(send: Callable[[Message], None], request: Mapping[str, str], service: str) -> None:
    # Of what a go-micro client finds echoed, only what it cannot do without: the rest may be it.
    few = {
        name: request[name][:_MAX_ECHO_CHARACTERS]
        for name in (ID, STREAM, SERVICE, ENDPOINT, METHOD)
        if name in request
    }
    plain = InternalError("the error could not be sent", id=service)
    try:
        send(Message(error_headers(few, plain), b""))
    except MicroError as error:
        _log.error("no answer could be sent: %s", error)
