"""Where the service may connect to: hosts whose addresses are public, and those that its operator allows.

It loads no HTTP client: processes that fetch from elsewhere start without one.
"""

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from app.platform.addresses import Address, is_public, meant
from app.platform.errors import DomainError

RESOLVE_SECONDS = 3.0
"""Longest wait for the addresses of a host that somebody names and wants to be told of."""
_RESOLVING = ThreadPoolExecutor(32, "resolve")
"""Threads of their own: names that do not resolve, which anybody may give, hold up no other work of the process."""


class Allowed(Protocol):
    """What tells where the service may go beside public addresses, as its settings do."""

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """Names of hosts, addresses and networks."""


class AddressForbiddenError(DomainError):
    """A request that the service was to make leads to where it may not go."""

    status, name, title = 422, "address-forbidden", "The service may not connect to this address"


def check_host(settings: Allowed, host: str, port: int) -> list[str]:
    """Return the addresses of a host, if the service may connect to all of them. Blocks while it resolves.

    Raises:
        AddressForbiddenError: the name is not known, or an address is private and not in the allow list.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressForbiddenError(f"The host name {host!r} cannot be resolved.") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if not _may_reach(settings, host, address):
            raise AddressForbiddenError(
                f"{host!r} is at {address}, which is no public address and not in VOUCHERS_ALLOWED_HOSTS."
            )
    return addresses


async def addresses_of(settings: Allowed, host: str, port: int) -> list[str]:
    """Return the addresses of a host as `check_host` does, without blocking."""
    return await asyncio.get_running_loop().run_in_executor(_RESOLVING, check_host, settings, host, port)


async def objection(settings: Allowed, host: str, port: int) -> str | None:
    """Return why the service can never connect to a host; None: it may. A name that is not known now may be later."""
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            await addresses_of(settings, host, port)
    except TimeoutError:
        return None
    except AddressForbiddenError as error:
        return None if isinstance(error.__cause__, OSError) else error.detail
    return None


def _may_reach(settings: Allowed, host: str, address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if is_public(ip):
        return True
    return any(
        _covers(allowed.strip().lower(), host.lower(), meant(ip)) for allowed in settings.allowed_hosts
    )


def _covers(allowed: str, host: str, ip: Address) -> bool:
    try:
        return ip in ipaddress.ip_network(allowed, strict=False)
    except ValueError:
        return allowed == host
