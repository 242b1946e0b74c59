"""Ask a caller for a key and its scopes, as a dependency of routes."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Request, Security, params
from fastapi.security import HTTPBearer

from app.domain.access.errors import ForbiddenError, UnauthenticatedError
from app.domain.access.keys.ring import KeyRing
from app.domain.access.scopes import Caller, Scope
from app.platform import logs
from app.web.credentials import secret_in
from app.web.dependencies import PLACE, held_by
from app.web.failed_keys import FailedKeys

bearer = HTTPBearer(auto_error=False, description="An API key, as made by `vouchers api-key create`")
_CALLER = "vouchers.caller"


async def recognise(keys: KeyRing, failures: FailedKeys, secret: str, address: str) -> Caller:
    """Return the caller whose key a request brings.

    Raises:
        UnauthenticatedError: it is not known.
        TooManyRequestsError: too many came from this address with keys that are not known, or with this key.
    """
    try:
        caller = await looked_up(keys, failures, secret, address)
    except UnauthenticatedError:
        failures.note(address)
        raise
    keys.meter(caller)
    return caller


async def looked_up(keys: KeyRing, failures: FailedKeys, secret: str, address: str) -> Caller:
    """Return the caller whose key a request brings; neither a request of its nor a failure is counted.

    Raises:
        UnauthenticatedError: it is not known.
        TooManyRequestsError: this process does not know it, and too many such came from this address.
    """
    caller = keys.remembered(secret)
    if caller is not None:
        return caller
    if not keys.knows(secret):
        failures.refuse(address)
    return await keys.recognise(secret)


async def admitted(
    request: Request, scopes: tuple[Scope, ...], read: Callable[[str | None], str] = secret_in
) -> Caller:
    """Return the caller of a request, where it holds one of `scopes`; the key is looked at once in a request.

    Args:
        request: of which only the head is read.
        scopes: one of which is needed.
        read: finds the key in an `Authorization` header.

    Raises:
        UnauthenticatedError, ForbiddenError, TooManyRequestsError: it is not let in.
    """
    caller: Caller | None = request.scope.get(_CALLER)
    if caller is None:
        app = request.app
        address = request.client.host if request.client else ""
        authorization = request.headers.getlist("authorization")
        caller = await recognise(
            held_by(app, KeyRing),
            held_by(app, FailedKeys),
            read(authorization[0] if len(authorization) == 1 else None),
            address,
        )
        request.scope[_CALLER] = caller
        request.scope[PLACE] = caller.place
        logs.project_id.set(caller.project_id)
    return permit(caller, *scopes)


def caller_of(request: Request) -> Caller:
    """Return the caller of a request that was let in."""
    caller: Caller = request.scope[_CALLER]
    return caller


def permit(caller: Caller, *scopes: Scope) -> Caller:
    """Return the caller, where it holds one of `scopes`.

    Raises:
        ForbiddenError: it holds none of them.
    """
    if not caller.may(*scopes):
        raise ForbiddenError(f"This needs a key with scope {' or '.join(scopes)}.", scopes=list(scopes))
    return caller


def permit_source(caller: Caller, source: object) -> None:
    """Let a caller use a source of an import: one that reads customers or events needs the scope for those.

    Raises:
        ForbiddenError: the caller's key lacks it.
    """
    if getattr(source, "type", None) == "analysis":
        permit(caller, Scope.EVENTS)


class Check:
    """A dependency that gives the caller, and lets only those pass that hold one of `scopes`."""

    def __init__(self, scopes: tuple[Scope, ...]) -> None:
        self.scopes = scopes

    async def __call__(self, request: Request, _: Annotated[object, Security(bearer)]) -> Caller:
        """Return the caller."""
        return await self.admit(request)

    async def admit(self, request: Request) -> Caller:
        """Return the caller, of whom only the head of the request is known yet."""
        return await admitted(request, self.scopes)


def requires(*scopes: Scope) -> params.Depends:
    """Make a dependency that gives the caller, and lets only those pass that hold one of `scopes`."""
    return params.Depends(Check(scopes))


Manager = Annotated[Caller, requires(Scope.POOLS)]
"""Who may change pools and what belongs to them."""
Reader = Annotated[Caller, requires(Scope.POOLS, Scope.READ)]
"""Who may read them."""
