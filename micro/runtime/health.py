"""Liveness and readiness over HTTP, for what supervises the process.

`/livez` answers 200 while the event loop runs. `/readyz` answers 200 when the check of readiness
succeeds, and 503 with the reason otherwise.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from http import HTTPStatus

from micro.errors import MicroError
from micro.runtime.pages import Page, Text, serve_pages

__all__ = ["CHECK_SECONDS", "Check", "serve_health"]

_log = logging.getLogger("micro.service")

CHECK_SECONDS = 4.0

Check = Callable[[], Awaitable[None]]
"""Returns when the service is ready; raises a MicroError that says why it is not."""


def serve_health(address: str, ready: Check) -> AbstractAsyncContextManager[str]:
    """Answer health checks inside a block; see `serve_pages`.

    Args:
        address: `host:port`, or `:port` for every interface; port 0 takes a free one.
        ready: The check of readiness; it has 4 s.
    """
    pages: dict[str, Page] = {"/livez": _live, "/readyz": partial(_readiness, ready)}
    return serve_pages(address, pages, setting="health_address")


async def _live() -> Text:
    return Text("alive")


async def _readiness(ready: Check) -> Text:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await ready()
    except TimeoutError:
        reason = f"the check did not end within {CHECK_SECONDS:g} s"
    except MicroError as error:
        reason = str(error)
    except Exception as error:
        # A plugin's check can raise anything; a probe must not end the service.
        _log.exception("the check of readiness failed")
        reason = f"the check failed: {type(error).__name__}"
    else:
        return Text("ready")
    return Text(reason, HTTPStatus.SERVICE_UNAVAILABLE)
