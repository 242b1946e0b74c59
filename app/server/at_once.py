"""Requests that are answered without a task of their own: a task and ASGI's messages cost more than such an answer.

An application that has `begin` is asked first, with a request that has come whole. What it leaves is answered as
always. Under proxies that are trusted the scope is first made what Uvicorn's own middleware makes of it.
"""

import contextlib
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import TypeAlias, cast

from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.web.replies import Tell

Begin: TypeAlias = Callable[[Scope, bytes, Callable[[], bool], Tell], bool]
"""Begins to answer a request; see `RequestLog.begin`."""


@lru_cache(maxsize=1)
def beginning_of(config: Config) -> Begin | None:
    """Return how the application of a server begins to answer at once; None: it does not."""
    app = config.loaded_app
    if not isinstance(app, ProxyHeadersMiddleware):
        return cast("Begin | None", getattr(app, "begin", None))
    begin: Begin | None = getattr(app.app, "begin", None)
    if begin is None:
        return None
    forwarded = ProxyHeadersMiddleware(_nothing, config.forwarded_allow_ips or [])

    def begin_forwarded(scope: Scope, body: bytes, gone: Callable[[], bool], tell: Tell) -> bool:
        seen = dict(scope)
        _run(forwarded(seen, None, None))  # type: ignore[arg-type]  # nothing is received, and nothing sent
        return begin(seen, body, gone, tell)

    return begin_forwarded


async def _nothing(*_: object) -> None:
    """Answer nothing."""


def _run(waits_for_nothing: Coroutine[object, None, None]) -> None:
    with contextlib.suppress(StopIteration):
        waits_for_nothing.send(None)
