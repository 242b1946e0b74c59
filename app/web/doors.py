"""What a request has to pass before it is answered: its key, the scopes, the names of its query, the size of its body.

FastAPI reads and parses a body before it asks the first dependency. A stranger could so have 32 MB parsed by every
request. Each route's handler is wrapped: what can be told from the head is told from the head.
"""

import difflib
import json
from collections.abc import Callable, Coroutine, Iterator

import anyio.to_thread
from fastapi import APIRouter, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from app.platform.errors import InvalidRequestError, PayloadTooLargeError
from app.web import given_twice, json_bounds, pagination, trackers
from app.web.body_limit import bound
from app.web.guard import Check
from app.web.idempotency import NAME as IDEMPOTENCY_KEY
from app.web.reading import reads, with_primary_behind

Handler = Callable[[Request], Coroutine[object, object, Response]]
_GUARDED = "vouchers_guarded"

SMALL_BODY = 1024**2
"""Bytes of a body of a route that takes one thing."""

LARGE_BODIES = frozenset(
    {
        "/v1/imports/preview",
        "/v1/pools/{pool}/imports",
        "/v1/customers/imports",
        "/v1/pools/{pool}/assignments/batch",
        "/v1/pools/{pool}/move",
        "/v1/bulk-changes",
        "/v1/render",
        "/v1/render/batch",
        "/v1/events",
        "/track/v2/projects/{project:id}/batch",
    }
)
"""Paths of the routes whose bodies hold many things: the setting `max_body_bytes` bounds these."""

OFF_LOOP = 1024**2
"""Bytes from which on JSON is parsed in a thread, so that others are answered meanwhile."""


SAFE = frozenset({"GET", "HEAD"})
SAYS_NOTHING = frozenset({b"", b"{}", b"null"})
"""Bodies that clients send where there is none."""


def guarded(router: APIRouter) -> APIRouter:
    """Put the door before each route of a router."""
    for route in router.routes:
        if isinstance(route, APIRoute) and not getattr(route, _GUARDED, False):
            setattr(route, _GUARDED, True)
            route.get_route_handler = _with_door(route, route.get_route_handler)  # type: ignore[method-assign]  # the hook that FastAPI documents, without a class that each router would have to name
    return router


def _with_door(route: APIRoute, inner: Callable[[], Handler]) -> Callable[[], Handler]:
    def make() -> Handler:
        handle = with_primary_behind(inner()) if reads(route.dependant) else inner()
        checks = list(checks_of(route.dependant))
        names = set(_query_names(route.dependant))
        large = route.path in LARGE_BODIES
        safe = set(route.methods or ()) <= SAFE
        bodiless = not (safe or takes_body(route) or route.path.startswith(trackers.PREFIX))

        async def handler(request: Request) -> Response:
            for check in checks:
                await check.admit(request)
            refuse_twice(request)
            refuse_unknown(request, names)
            bound(request, None if large else SMALL_BODY)
            pagination.begin()
            incoming = _Incoming(request.scope, request.receive, request._send)  # noqa: SLF001  (no other way to it)
            if bodiless:
                await refuse_body(incoming)
            response = await handle(incoming)
            pagination.link(request, response)
            return response

        return handler

    return make


def refuse_twice(request: Request) -> None:
    """Refuse a parameter of the query that is given twice, and two idempotency keys: only one would count.

    Raises:
        InvalidRequestError: there is one.
    """
    given = request.query_params
    twice = [["query", name[:100]] for name in given if len(given.getlist(name)) > 1]
    if len(set(request.headers.getlist(IDEMPOTENCY_KEY))) > 1:
        twice.append(["header", IDEMPOTENCY_KEY])
    given_twice.refuse(twice)


def refuse_unknown(request: Request, names: set[str]) -> None:
    """Refuse a parameter of the query that the route does not know.

    Raises:
        InvalidRequestError: there is one; it tells the name that comes nearest.
    """
    for name in request.query_params:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1, 0.5)
            if near:
                said = f"there is no such parameter; did you mean {near[0]!r}?"
            else:
                known = ", ".join(sorted(names))
                said = f"there is no such parameter; there are {known}." if known else "there is none here"
            shown = name[:100]
            raise InvalidRequestError(f"query.{shown}: {said}", [{"loc": ["query", shown], "msg": said}])


def takes_body(route: APIRoute) -> bool:
    """Return whether a route takes a body: the framework reads it, or the route does and says so in the document."""
    return route.body_field is not None or "requestBody" in (route.openapi_extra or {})


async def refuse_body(request: Request) -> None:
    """Refuse a body where the route takes none: it would do something else than what the body says.

    Raises:
        InvalidRequestError: there is one that says something.
    """
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return
    try:
        body: bytes | None = b"".join((await request.body()).split())
    except PayloadTooLargeError:
        body = None
    if body not in SAYS_NOTHING:
        said = "there is no body here: nothing of it would be obeyed"
        raise InvalidRequestError(f"body: {said}.", [{"loc": ["body"], "msg": said}])


class _Incoming(Request):
    """A request whose JSON has bounds, and is parsed in a thread where it is large."""

    async def json(self) -> object:
        """Return the body as JSON.

        Raises:
            InvalidRequestError: it is nested too deep, or has a number without end.
            json.JSONDecodeError: it is no JSON.
        """
        if not hasattr(self, "_json"):
            body = await self.body()
            parse: Callable[[bytes], object] = _parsed
            if len(body) > OFF_LOOP:
                self._json = await anyio.to_thread.run_sync(parse, body)
            else:
                self._json = parse(body)
        return self._json


def _parsed(body: bytes) -> object:
    json_bounds.check(body)
    return json.loads(body)


def checks_of(dependant: Dependant) -> Iterator[Check]:
    """Yield what asks for scopes before a route is run."""
    if isinstance(dependant.call, Check):
        yield dependant.call
    for inner in dependant.dependencies:
        yield from checks_of(inner)


def _query_names(dependant: Dependant) -> Iterator[str]:
    for field in dependant.query_params:
        kind = field.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from (inner.alias or name for name, inner in kind.model_fields.items())
        else:
            yield field.alias
    for inner in dependant.dependencies:
        yield from _query_names(inner)
