"""Whether the client of a request still waits for its reply."""

from collections.abc import Awaitable, Callable
from typing import Protocol, cast

from fastapi import Request
from starlette.types import Receive, Scope

_CYCLE = "vouchers.cycle"


class _Transport(Protocol):
    def is_closing(self) -> bool: ...


class _Flow(Protocol):
    async def drain(self) -> None: ...


class Cycle(Protocol):
    """The server's own record of a request."""

    disconnected: bool
    """Whether the client has hung up, as far as can be told without waiting."""
    transport: _Transport
    flow: _Flow


def cycle_behind(receive: Receive) -> Cycle | None:
    """Return the record of a request; None under a server that is not ours: its `receive` is no method of one."""
    cycle = getattr(receive, "__self__", None)
    return cast(Cycle, cycle) if hasattr(cycle, "disconnected") else None


def note(scope: Scope, receive: Receive) -> None:
    """Keep the record of a request where it is found once others have wrapped `receive`."""
    if (cycle := cycle_behind(receive)) is not None:
        scope[_CYCLE] = cycle


def noted(scope: Scope) -> Cycle | None:
    """Return the record of a request that was noted."""
    cycle: Cycle | None = scope.get(_CYCLE)
    return cycle


def hung_up(cycle: Cycle | None) -> Callable[[], bool]:
    """Return a function that tells at once whether the client has hung up; where there is no record, it never has."""
    return lambda: cycle is not None and cycle.disconnected


def still_there(cycle: Cycle | None, request: Callable[[], Request]) -> Callable[[], Awaitable[bool]]:
    """Return a function that tells whether the client still waits; `request` is asked where there is no record."""

    async def still_there() -> bool:
        if cycle is not None:
            return not (cycle.disconnected or cycle.transport.is_closing())
        return not await request().is_disconnected()

    return still_there
