"""A file at a URL, by HTTP or HTTPS."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from http import HTTPStatus

from app.domain.imports.errors import UnreadableError
from app.domain.imports.stored import StoredSource
from app.platform import outbound
from app.platform.settings import Settings

STEP_SECONDS = 30.0


def fetch(settings: Settings, source: StoredSource) -> Iterator[bytes]:
    """Yield the body of the reply."""
    with asyncio.Runner() as runner:
        blocks = _stream(settings, source["url"])
        try:
            while block := runner.run(_next(blocks)):
                yield block
        finally:
            runner.run(blocks.aclose())


async def _next(blocks: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(blocks, b"")


async def _stream(settings: Settings, url: str) -> AsyncGenerator[bytes, None]:
    timeout = min(STEP_SECONDS, settings.fetch_seconds)
    # Packed in transit it could unpack to anything; a packed file is opened by the reader, with care.
    headers = {"Accept-Encoding": "identity"}
    async with (
        outbound.http_client(settings, timeout=timeout) as client,
        client.stream("GET", url, headers=headers) as reply,
    ):
        if reply.status_code != HTTPStatus.OK:
            raise UnreadableError(f"The server of the URL answered {reply.status_code}.")
        async for block in reply.aiter_raw():
            if block:
                yield block
