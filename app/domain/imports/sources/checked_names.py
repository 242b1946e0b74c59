"""Names that a library of asyncio resolves by itself: only to addresses that the service may go to."""

import ipaddress
import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from app.domain.imports.sources.limits import Limits
from app.platform.reachable import addresses_of


class CheckedNames(AbstractResolver):
    """A resolver for aiohttp. What is connected to is what was checked."""

    def __init__(self, settings: Limits) -> None:
        self._settings = settings

    async def resolve(  # noqa: D102  (aiohttp)
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6,  # noqa: PLR2004
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await addresses_of(self._settings, host, port)
        ]

    async def close(self) -> None:
        """Close nothing: nothing is held."""
