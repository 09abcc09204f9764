"""What to tell when a service or an endpoint is not there: the ones that are."""

from __future__ import annotations

from micro.client import Client
from micro.errors import MicroError, NotFound, Unavailable
from micro.registry import Registry
from micro.settings.hints import nearest

__all__ = ["explain", "missing_service"]

MAX_SHOWN_ENDPOINTS = 20
# Endpoints of one service share the part before the dot, so they are alike to begin with.
ENDPOINT_CUTOFF = 0.85


async def missing_service(registry: Registry, name: str) -> Unavailable:
    """The error for a service without nodes, with the name that was likely meant."""
    known = [record.name for record in await registry.list_services()]
    hint = nearest(name, known)
    return Unavailable(f"no node serves {name!r}" + (f"; did you mean {hint!r}?" if hint else ""))


async def explain(client: Client, service: str, endpoint: str, error: MicroError) -> MicroError:
    """Replace an error that says only that something is not there; return any other as it is."""
    if error.code not in (NotFound.code, Unavailable.code):
        return error
    records = await client.registry.get_service(service)
    if not any(record.nodes for record in records):
        return await missing_service(client.registry, service)
    names = {
        one.name
        for record in records
        for one in record.endpoints
        if one.metadata.get("subscriber") != "true"
    }
    if endpoint in names or error.code != NotFound.code:
        return error
    shown = sorted(names)[:MAX_SHOWN_ENDPOINTS] + ["..."] * (len(names) > MAX_SHOWN_ENDPOINTS)
    hint = nearest(endpoint, names, cutoff=ENDPOINT_CUTOFF)
    also = f"did you mean {hint}?" if hint else f"it has {', '.join(shown) or 'none'}"
    return NotFound(f"{service} has no endpoint {endpoint!r}; {also}")
