"""A microservice framework in the shape of go-micro, at home on NATS."""

from micro.backend import ConnectionEvent, ConnectionState
from micro.client.client import Client
from micro.client.selector import Where
from micro.client.stream import ClientStream
from micro.context import Context
from micro.deadline import Deadline
from micro.errors import (
    BadRequest,
    Cancelled,
    Conflict,
    DeadlineExceeded,
    Forbidden,
    InternalError,
    MethodNotAllowed,
    MicroError,
    NotFound,
    PayloadTooLarge,
    ResourceExhausted,
    Unauthorized,
    Unavailable,
)
from micro.memory import MemoryBackend
from micro.message import Message
from micro.middleware import Next, Request, Response
from micro.service import Service, open_client
from micro.settings.load import Settings, load_settings

__all__ = [
    "BadRequest",
    "Cancelled",
    "Client",
    "ClientStream",
    "Conflict",
    "ConnectionEvent",
    "ConnectionState",
    "Context",
    "Deadline",
    "DeadlineExceeded",
    "Forbidden",
    "InternalError",
    "MemoryBackend",
    "Message",
    "MethodNotAllowed",
    "MicroError",
    "Next",
    "NotFound",
    "PayloadTooLarge",
    "Request",
    "ResourceExhausted",
    "Response",
    "Service",
    "Settings",
    "Unauthorized",
    "Unavailable",
    "Where",
    "load_settings",
    "open_client",
]
