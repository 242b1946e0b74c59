"""Ask a caller for a key and its scopes, as a dependency of routes."""

from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from app.domain.access.errors import ForbiddenError, UnauthenticatedError
from app.domain.access.keys.service import KeyRing
from app.domain.access.scopes import Caller, Scope
from app.web.dependencies import held

bearer = HTTPBearer(auto_error=False, description="An API key, as made by `vouchers api-key create`")


def secret_in(authorization: str | None) -> str:
    """Return the key in an `Authorization` header.

    Raises:
        UnauthenticatedError: there is none.
    """
    scheme, _, secret = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise UnauthenticatedError("Send an API key as 'Authorization: Bearer KEY'.")
    return secret


async def _caller(
    request: Request, keys: Annotated[KeyRing, held(KeyRing)], _: Annotated[Any, Security(bearer)]
) -> Caller:
    return await keys.recognise(secret_in(request.headers.get("authorization")))


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


def requires(*scopes: Scope) -> Any:
    """Make a dependency that gives the caller, and lets only those pass that hold one of `scopes`."""

    async def check(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
        return permit(caller, *scopes)

    return Depends(check)
