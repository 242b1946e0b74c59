"""A file at a URL, by HTTP or HTTPS."""

from collections.abc import AsyncGenerator
from http import HTTPStatus

from app.domain.imports.errors import UnreadableError
from app.platform import outbound
from app.platform.reachable import Allowed

STEP_SECONDS = 30.0


async def blocks(allowed: Allowed, url: str) -> AsyncGenerator[bytes, None]:
    """Yield the body of the reply. Each step has an end; that the whole has one is seen to by who asks."""
    # Packed in transit it could unpack to anything; a packed file is opened by the reader, with care.
    headers = {"Accept-Encoding": "identity"}
    async with (
        outbound.http_client(allowed, timeout=STEP_SECONDS) as client,
        client.stream("GET", url, headers=headers) as reply,
    ):
        if reply.status_code != HTTPStatus.OK:
            raise UnreadableError(f"The server of the URL answered {reply.status_code}.")
        async for block in reply.aiter_raw():
            if block:
                yield block
