"""What routes ask the framework for: the things that a process holds, each by its type, and a transaction."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Depends, FastAPI, params
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from starlette.requests import HTTPConnection

from app.platform import settings
from app.platform.database import transaction
from app.platform.databases import MAIN, Place
from app.platform.giving_way import looking

Thing = TypeVar("Thing")


PLACE = "vouchers.place"
"""Where the scope of a request has its caller's project, and the database that it lives in."""

Held = dict[type[object], object]
"""Things by their types."""

_MOST_PROJECTS = 1000
"""Projects whose things are kept; those of one that was quiet the longest are made anew when it is heard of again."""


def hold(app: FastAPI, *things: object, of_project: Callable[[Place], Sequence[object]]) -> None:
    """Keep what the process holds while it runs, one thing of a type.

    Args:
        app: whose requests ask for them.
        things: what is one for all.
        of_project: makes what each project has for itself, given where it is.
    """
    app.state.held = {type(thing): thing for thing in things}
    app.state.make = of_project
    app.state.of_projects = OrderedDict()


def held_by(app: FastAPI, kind: type[Thing], place: Place | None = None) -> Thing:
    """Return the thing of this type that the process holds, or that it holds for a project."""
    held: Held = app.state.held if place is None else _held_for(app, place)
    return held[kind]  # type: ignore[return-value]  # by its type


def _held_for(app: FastAPI, place: Place) -> Held:
    projects: OrderedDict[Place, Held] = app.state.of_projects
    held = projects.get(place)
    if held is None:
        held = projects[place] = {type(thing): thing for thing in app.state.make(place)}
        if len(projects) > _MOST_PROJECTS:
            projects.popitem(last=False)
    else:
        projects.move_to_end(place)
    return held


def held(kind: type[object]) -> params.Depends:
    """Make a dependency that gives the thing of this type."""

    async def give(request: HTTPConnection) -> object:
        return held_by(request.app, kind)

    return params.Depends(give)


def held_for_project(kind: type[object]) -> params.Depends:
    """Make a dependency that gives the thing of this type that the caller's project has."""

    async def give(request: HTTPConnection) -> object:
        return held_by(request.app, kind, request.scope[PLACE])

    return params.Depends(give)


Settings = Annotated[settings.Settings, held(settings.Settings)]
Engine = Annotated[AsyncEngine, held_for_project(AsyncEngine)]
"""Of the caller's project."""


async def _control_engine(request: HTTPConnection) -> AsyncEngine:
    _, project = request.scope[PLACE]
    return held_by(request.app, AsyncEngine, (MAIN, project))


ControlEngine = Annotated[AsyncEngine, Depends(_control_engine)]
"""Of the control database, for what stands there whatever the caller's project lives in: projects and keys."""


async def _connection(engine: Engine) -> AsyncIterator[AsyncConnection]:
    async with transaction(engine) as connection:
        yield connection


# scope="function" commits before the reply leaves: what a caller was told is true, and stays so.
Connection = Annotated[AsyncConnection, Depends(_connection, scope="function")]


async def _looking(engine: Engine) -> AsyncIterator[AsyncConnection]:
    async with transaction(looking(engine)) as connection:
        yield connection


Looking = Annotated[AsyncConnection, Depends(_looking, scope="function")]
"""For a look at a job, which gives way to all other requests."""


async def _control(engine: ControlEngine) -> AsyncIterator[AsyncConnection]:
    async with transaction(engine) as connection:
        yield connection


ControlConnection = Annotated[AsyncConnection, Depends(_control, scope="function")]
"""To the control database, in the caller's project."""
