"""What routes ask the framework for: the things that a process holds, each by its type, and a transaction."""

from collections.abc import AsyncIterator
from typing import Annotated, TypeVar

from fastapi import Depends, FastAPI, params
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from starlette.requests import HTTPConnection

from app.platform import settings
from app.platform.database import transaction

Thing = TypeVar("Thing")


def hold(app: FastAPI, *things: object) -> None:
    """Keep what the process holds while it runs, one thing of a type."""
    app.state.held = {type(thing): thing for thing in things}


def held_by(app: FastAPI, kind: type[Thing]) -> Thing:
    """Return the thing of this type that the process holds."""
    thing: Thing = app.state.held[kind]
    return thing


def held(kind: type[object]) -> params.Depends:
    """Make a dependency that gives the thing of this type."""

    async def give(request: HTTPConnection) -> object:
        return held_by(request.app, kind)

    return params.Depends(give)


Settings = Annotated[settings.Settings, held(settings.Settings)]
Engine = Annotated[AsyncEngine, held(AsyncEngine)]


async def _connection(engine: Engine) -> AsyncIterator[AsyncConnection]:
    async with transaction(engine) as connection:
        yield connection


# scope="function" commits before the reply leaves: what a caller was told is true, and stays so.
Connection = Annotated[AsyncConnection, Depends(_connection, scope="function")]
