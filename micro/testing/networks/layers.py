"""Middleware of a test network: it counts what is under way, records calls, and makes faults."""

from __future__ import annotations

from micro.middleware import Layer, Next, Request, Response
from micro.testing.networks.record import Call
from micro.testing.networks.wires import Wires

__all__ = ["client_layer", "server_layer", "subscriber_layer"]


def client_layer(wires: Wires, caller: str) -> Layer:
    """Round every call of a part."""

    async def layer(request: Request, next: Next) -> Response:
        called = f"{request.service}.{request.endpoint}"
        with wires.activity.during(f"{caller} waits for {called}"):
            return await next(request)

    return layer


def server_layer(wires: Wires, node: str) -> Layer:
    """Round every handler of a node."""

    async def layer(request: Request, next: Next) -> Response:
        service, endpoint = request.service, request.endpoint
        call = Call(
            service=service,
            endpoint=endpoint,
            request=request.value,
            headers=dict(request.headers),
            node=node,
        )
        wires.record.calls.append(call)
        with wires.activity.during(f"{service}.{endpoint} runs"):
            try:
                await wires.faults.hit_call(service, endpoint)
                response = await next(request)
            except BaseException as error:
                call.error = error
                raise
            finally:
                call.ended = True
        call.response = response.value
        return response

    return layer


def subscriber_layer(wires: Wires) -> Layer:
    """Round every subscriber of a service."""

    async def layer(request: Request, next: Next) -> Response:
        with wires.activity.during(f"{request.service} handles an event of {request.endpoint}"):
            await wires.faults.hit_handling(request.service, request.endpoint)
            return await next(request)

    return layer
