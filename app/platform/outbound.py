"""Requests that the service makes itself: where they may go.

A name is resolved here, its addresses are checked, and the connection goes to the very address that was
checked, so a name that means something else a moment later (DNS rebinding) leads nowhere. The same holds for
every redirect.
"""

import ssl
from functools import cache

import httpx

from app.platform.reachable import AddressForbiddenError, Allowed, addresses_of

MAX_REDIRECTS = 5


def http_client(settings: Allowed, *, timeout: float, keep: bool = False) -> httpx.AsyncClient:
    """Return a client that goes only where the service may go.

    Its requests raise AddressForbiddenError beside the errors of httpx.

    Args:
        settings: where it may go.
        timeout: seconds that each step may take.
        keep: whether a connection is kept for the next request; all must go to one host.
    """
    return httpx.AsyncClient(
        transport=_GuardedTransport(settings, keep=keep),
        timeout=timeout,
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        trust_env=False,  # a proxy would resolve names itself
    )


@cache
def _trust() -> ssl.SSLContext:
    """Return whose certificates are trusted: read once, for that takes longer than a request."""
    return httpx.create_ssl_context()


class _GuardedTransport(httpx.AsyncBaseTransport):
    """Resolve and check each request's host, and connect to what was checked."""

    def __init__(self, settings: Allowed, *, keep: bool) -> None:
        self._settings = settings
        # Connections are known by address, which two hosts may share: kept for requests to one host alone.
        limits = httpx.Limits(max_keepalive_connections=int(keep))
        self._inner = httpx.AsyncHTTPTransport(verify=_trust(), limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host, port = request.url.host, request.url.port or (443 if request.url.scheme == "https" else 80)
        addresses = await addresses_of(self._settings, host, port)
        error: httpx.ConnectError | httpx.ConnectTimeout | None = None
        for address in addresses:
            direct = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,  # `Host` is in them, and stays
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return await self._inner.handle_async_request(direct)
            except (httpx.ConnectError, httpx.ConnectTimeout) as failed:
                error = failed
        raise error or AddressForbiddenError(f"The host name {host!r} has no address.")

    async def aclose(self) -> None:
        await self._inner.aclose()
