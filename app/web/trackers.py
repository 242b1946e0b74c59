"""How trackers speak HTTP: Exponea's clients, which send keys in other words and read errors of another shape."""

import base64
import binascii
import uuid
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, ClassVar

from fastapi import Request, Security, params
from fastapi.security import APIKeyHeader, HTTPBasic

from app.domain.access.errors import UnauthenticatedError
from app.domain.access.scopes import Caller, Scope
from app.web.credentials import secret_in
from app.web.guard import Check, admitted, bearer

PREFIX = "/track/"
"""Paths of trackers begin so; nothing else does."""
STATUSES = {
    422: HTTPStatus.BAD_REQUEST.value,
    409: HTTPStatus.SERVICE_UNAVAILABLE.value,
}
"""Statuses of problems for which these clients know another one: what is wrong, and what may be tried again."""

basic = HTTPBasic(
    auto_error=False, description="Id of an API key, and its secret: private access of Exponea's clients"
)
token = APIKeyHeader(
    name="Authorization",
    auto_error=False,
    scheme_name="Token",
    description="`Token SECRET`: public access of Exponea's clients",
)


class NotRecognisedError(UnauthenticatedError):
    """No key, or one that is not known."""

    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": 'Basic realm="trackers"'}


def errors_of(status: int, detail: str, extra: Mapping[str, object]) -> tuple[int, dict[str, object]]:
    """Return a problem as these clients read it: its status and its body."""
    faults = extra.get("errors")
    said = list(_said(faults)) if isinstance(faults, Sequence) and faults else [detail]
    if status == HTTPStatus.FORBIDDEN:
        said = [f"No permission. {each}" for each in said]  # by this word some of the clients know it
    return STATUSES.get(status, status), {"success": False, "errors": said}


def _said(faults: Sequence[Mapping[str, object]]) -> Iterator[str]:
    for fault in faults:
        place = fault.get("loc")
        steps = [str(step) for step in place if step != "body"] if isinstance(place, Sequence) else []
        yield f"{'.'.join(steps)}: {fault['msg']}" if steps else str(fault["msg"])


class TrackerCheck(Check):
    """A dependency as `Check`, for keys as trackers send them; the usual way is good too."""

    async def __call__(  # noqa: D102  (as above)
        self,
        request: Request,
        _: Annotated[object, Security(bearer)],
        __: Annotated[object, Security(basic)] = None,
        ___: Annotated[object, Security(token)] = None,
    ) -> Caller:
        return await self.admit(request)

    async def admit(self, request: Request) -> Caller:
        """Return the caller; one who gives the id of its key gives the right one."""
        named: list[str] = []
        try:
            caller = await admitted(request, self.scopes, lambda header: key_in(header, named))
        except UnauthenticatedError as error:
            raise NotRecognisedError(error.detail) from error
        if named and named[0].lower() != str(caller.key_id):
            raise NotRecognisedError("Access key not found: this is not the id of this key.")
        return caller


def requires(*scopes: Scope) -> params.Depends:
    """Make a dependency that gives a tracker's caller, and lets only those pass that hold one of `scopes`."""
    return params.Depends(TrackerCheck(scopes))


def key_in(authorization: str | None, named: list[str]) -> str:
    """Return the key in a header; put the id that is given with it into `named`.

    Raises:
        NotRecognisedError: there is no key.
    """
    scheme, _, rest = (authorization or "").partition(" ")
    if scheme.lower() == "token" and rest.strip():
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            key_id, _, secret = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
            named.append(str(uuid.UUID(key_id)))
        except (binascii.Error, ValueError):
            secret = ""
        if secret:
            return secret
    elif scheme.lower() == "bearer":
        return secret_in(authorization)
    raise NotRecognisedError(
        "Could not authenticate: send the id of an API key and its secret as 'Basic', or 'Token SECRET'."
    )
