"""A receiver of webhooks, and settings by which it may be reached."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from app.platform.settings import Settings


@dataclass
class Received:
    """A request that reached the receiver."""

    at: float
    headers: dict[str, str]
    body: bytes

    def verified(self, secret: str) -> dict[str, Any]:
        """The payload, once the library has verified the signature."""
        payload: dict[str, Any] = Webhook(secret).verify(self.body, self.headers)
        return payload

    def verified_at_any_age(self, secret: str) -> dict[str, Any]:
        """The payload, once its signature was verified: the library refuses what is older than five minutes."""
        at = datetime.fromtimestamp(float(self.headers["webhook-timestamp"]), UTC)
        signature = Webhook(secret).sign(self.headers["webhook-id"], at, self.body.decode())
        assert signature in self.headers["webhook-signature"].split()
        payload: dict[str, Any] = json.loads(self.body)
        return payload


@dataclass
class Receiver:
    """An HTTP server on 127.0.0.1 that keeps what it is sent, and can be told to fail."""

    port: int = 0
    status: int = 204
    further: str = ""
    """Further headers of its answers, each with its line end."""
    held: asyncio.Event | None = None
    """What its answers wait for."""
    received: list[Received] = field(default_factory=list)
    server: asyncio.Server | None = None
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def payloads(self, secret: str) -> list[dict[str, Any]]:
        return [request.verified(secret) for request in self.received]

    async def up(self) -> None:
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        if self.server is not None:
            self.server.close()
            for writer in self.open.copy():
                writer.close()
                await writer.wait_closed()
            await self.server.wait_closed()
            self.server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        try:
            await self._serve(reader, writer)
        finally:
            self.open.discard(writer)
            writer.close()
            await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers["content-length"]))
        self.received.append(Received(time.time(), headers, body))
        if self.held is not None:
            await self.held.wait()
        writer.write(
            f"HTTP/1.1 {self.status} -\r\ncontent-length: 0\r\n{self.further}connection: close\r\n\r\n".encode()
        )
        await writer.drain()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    await receiver.up()
    yield receiver
    await receiver.down()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"allowed_hosts": ("127.0.0.1",), "alert_retry_seconds": 0.1})
