"""What routes ask the framework for."""

from collections.abc import AsyncIterator
from typing import Annotated, cast

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app import state
from app.database import transaction


async def _state(request: Request) -> state.State:
    return cast(state.State, request.app.state.vouchers)


State = Annotated[state.State, Depends(_state)]


async def _engine(state: State) -> AsyncEngine:
    return state.engine


Engine = Annotated[AsyncEngine, Depends(_engine)]


async def _connection(engine: Engine) -> AsyncIterator[AsyncConnection]:
    async with transaction(engine) as connection:
        yield connection


# scope="function" commits before the reply leaves: what a caller was told is true, and stays so.
Connection = Annotated[AsyncConnection, Depends(_connection, scope="function")]
