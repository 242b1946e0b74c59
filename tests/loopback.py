"""An application behind the service's own protocol, on loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp

from app.server.http_protocol import Protocol


@asynccontextmanager
async def served(application: ASGIApp, *trusted: str, idle_seconds: int = 60) -> AsyncIterator[int]:
    """A server with the protocol, behind proxies that are `trusted`; its port."""
    config = uvicorn.Config(
        application,
        http=Protocol,
        log_config=None,
        lifespan="off",
        ws="none",
        timeout_keep_alive=idle_seconds,
        proxy_headers=bool(trusted),
        forwarded_allow_ips=list(trusted),
    )
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server._serve([listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        yield listening.getsockname()[1]
        server.should_exit = True
        server.force_exit = True
        await task
