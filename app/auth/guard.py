"""The scopes that a route asks for, as a dependency."""

from typing import Annotated, Any

from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.auth.schemas import Caller, Scope
from app.dependencies import State
from app.errors import ForbiddenError, UnauthenticatedError

bearer = HTTPBearer(auto_error=False, description="An API key, as made by `vouchers api-key create`")


async def _caller(
    state: State,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)],
) -> Caller:
    if credentials is None:
        raise UnauthenticatedError("Send an API key as 'Authorization: Bearer KEY'.")
    return await state.keys.recognise(credentials.credentials)


def permit(caller: Caller, *scopes: Scope) -> Caller:
    """The caller, where it holds one of `scopes`.

    Raises:
        ForbiddenError: it holds none of them.
    """
    if not caller.may(*scopes):
        raise ForbiddenError(f"This needs a key with scope {' or '.join(scopes)}.", scopes=list(scopes))
    return caller


def requires(*scopes: Scope) -> Any:
    """A dependency that gives the caller, and lets only those pass that hold one of `scopes`."""

    async def check(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
        return permit(caller, *scopes)

    return Depends(check)
