"""Requests whose reply may be a little old: a standby serves them, and behind it the primary."""

import math
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Depends, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.platform.database import transaction
from app.platform.standby import Reads
from app.web.dependencies import Engine, held_for_project

Handler: TypeAlias = Callable[[Request], Coroutine[object, object, Response]]

DATA_AGE = "Data-Age"
_AGE, _NEW = "vouchers.data_age", "vouchers.data_new"
"""Where the scope of a request says how old its data is, and that it asks the primary."""

ReadsOfProject = Annotated[Reads, held_for_project(Reads)]


async def _connection(request: Request, of: ReadsOfProject, engine: Engine) -> AsyncIterator[AsyncConnection]:
    async with AsyncExitStack() as stack:
        seen = None if _NEW in request.scope else await stack.enter_async_context(of.seen())
        if seen is None:
            yield await stack.enter_async_context(transaction(engine))
        else:
            request.scope[_AGE] = seen.age
            yield seen.connection


ReadConnection = Annotated[AsyncConnection, Depends(_connection, scope="function")]
"""For a route that only reads, where a few seconds do not matter: no counts, nothing that the caller has just made."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where an export reads: a standby, once that has all that was committed before, or else the database itself."""

    engine: AsyncEngine
    """Of the database itself."""
    reads: Reads | None = None
    written: str | None = None
    """The place in the log up to which all was committed before."""
    headers: dict[str, str] = field(default_factory=dict)
    """Those of the reply that tell where it reads, once it does."""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """Give the connection to read on."""
        async with AsyncExitStack() as stack:
            there = None
            if self.reads is not None and self.written is not None:
                there = await stack.enter_async_context(self.reads.caught_up(self.written))
            if there is None:
                there = await stack.enter_async_context(transaction(self.engine))
            else:
                self.headers[DATA_AGE] = "0"
            yield there


async def exact(of: Reads, connection: AsyncConnection, engine: AsyncEngine) -> Source:
    """Return where an export reads that has all that is committed by now: exports follow each other without a gap.

    Args:
        of: the project's reads.
        connection: to the database itself.
        engine: of the database itself.
    """
    return Source(engine, of, await of.written(connection))


def reads(dependant: Dependant) -> bool:
    """Tell whether a route takes a `ReadConnection`."""
    return any(each.call is _connection or reads(each) for each in dependant.dependencies)


def backed(router: APIRouter) -> APIRouter:
    """Put the primary behind each route of a router that takes a `ReadConnection`; API routes have it by their door."""
    for route in router.routes:
        if isinstance(route, APIRoute) and reads(route.dependant):
            route.get_route_handler = partial(_backed, route.get_route_handler)  # type: ignore[method-assign]  # as app/web/doors.py does
    return router


def _backed(inner: Callable[[], Handler]) -> Handler:
    return with_primary_behind(inner())


def with_primary_behind(handle: Handler) -> Handler:
    """Return a handler that asks the primary where the standby fails, or has not got what the request names."""

    async def handler(request: Request) -> Response:
        try:
            response = await handle(request)
        except Exception:
            if request.scope.pop(_AGE, None) is None:
                raise
            request.scope[_NEW] = True
            return await handle(request)
        age: float | None = request.scope.get(_AGE)
        if age is not None:
            response.headers[DATA_AGE] = str(math.ceil(age))
        return response

    return handler
