"""A microservice framework in the shape of go-micro, at home on NATS."""

from micro.backend import ConnectionEvent, ConnectionState
from micro.broker.keep import Keep, Queue
from micro.broker.kept_types import Receipt
from micro.client.client import Client
from micro.client.selector import Strategy, Where
from micro.client.stream import ClientStream
from micro.codec.contract import Codec
from micro.context import Context
from micro.deadline import Deadline
from micro.errors import (
    BadRequest,
    Cancelled,
    Conflict,
    ConnectionLost,
    DeadlineExceeded,
    Forbidden,
    InternalError,
    MethodNotAllowed,
    MicroError,
    NotFound,
    PayloadTooLarge,
    ResourceExhausted,
    ServiceUnavailable,
    Unauthorized,
    Unavailable,
)
from micro.events.inbox import Inbox
from micro.events.outbox import Outbox, OutboxEvent
from micro.events.stream import EventStream
from micro.handlers.contract import contract
from micro.handlers.depends import Depends
from micro.handlers.durable import Later, Reject, Retry
from micro.handlers.raises import raises
from micro.memory import MemoryBackend
from micro.message import Message
from micro.middleware import Layer, Next, Request, Response
from micro.plugins import Backends
from micro.service import Service, open_client
from micro.settings.load import Settings, load_settings
from micro.topic import Topic

__all__ = [
    "Backends",
    "BadRequest",
    "Cancelled",
    "Client",
    "ClientStream",
    "Codec",
    "Conflict",
    "ConnectionEvent",
    "ConnectionLost",
    "ConnectionState",
    "Context",
    "Deadline",
    "DeadlineExceeded",
    "Depends",
    "EventStream",
    "Forbidden",
    "Inbox",
    "InternalError",
    "Keep",
    "Later",
    "Layer",
    "MemoryBackend",
    "Message",
    "MethodNotAllowed",
    "MicroError",
    "Next",
    "NotFound",
    "Outbox",
    "OutboxEvent",
    "PayloadTooLarge",
    "Queue",
    "Receipt",
    "Reject",
    "Request",
    "ResourceExhausted",
    "Response",
    "Retry",
    "Service",
    "ServiceUnavailable",
    "Settings",
    "Strategy",
    "Topic",
    "Unauthorized",
    "Unavailable",
    "Where",
    "contract",
    "load_settings",
    "open_client",
    "raises",
]
