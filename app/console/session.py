"""Who is signed in: a sealed cookie with the API key, which is recognised anew at each request."""

import hmac
import secrets
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response, params
from pydantic import TypeAdapter
from starlette.datastructures import FormData

from app.console import sealed
from app.domain.access.errors import ForbiddenError, UnauthenticatedError
from app.domain.access.keys.ring import KeyRing
from app.domain.access.scopes import Caller, Scope
from app.platform import logs
from app.platform.clock import clock
from app.platform.settings import Settings as AllSettings
from app.web import body
from app.web.body_limit import allow
from app.web.dependencies import PLACE, Settings, held, held_by
from app.web.failed_keys import FailedKeys
from app.web.guard import permit, recognise

COOKIE = "vouchers_session"
IDLE_SECONDS = 30 * 60
RENEW_SECONDS = 60
RENEW = "vouchers.renew"
"""Where the scope of a request has the session that goes on with its answer."""

Keys = Annotated[KeyRing, held(KeyRing)]
Failures = Annotated[FailedKeys, held(FailedKeys)]


@dataclass(frozen=True, slots=True)
class Session:
    """What the cookie holds."""

    key: str
    csrf: str
    at: int


SESSION = TypeAdapter(Session)


@dataclass(slots=True)
class Visit:
    """A request of somebody who is signed in; `form` holds what was sent."""

    request: Request
    caller: Caller
    csrf: str
    settings: AllSettings
    form: FormData

    def text(self, name: str) -> str:
        """Return a field of the form, or of the query; empty where it is missing."""
        value = self.form.get(name)
        if value is None:
            value = self.request.query_params.get(name, "")
        return value.replace("\r\n", "\n") if isinstance(value, str) else ""

    def given(self, name: str) -> str | None:
        """Return a field, or None where nothing was typed."""
        return self.text(name).strip() or None

    def sent_as(self) -> str:
        """Return a name that this form bears whenever it is sent, filled in alike, and no other one does."""
        filled = sorted(
            (name, value)
            for name, value in self.form.multi_items()
            if isinstance(value, str) and name != "csrf"
        )
        form = self.form.get("form") or str(uuid.uuid4())
        return str(uuid.uuid5(self.caller.key_id, repr((self.request.url.path, form, filled))))

    @property
    def typed(self) -> dict[str, str]:
        """Return all that was typed, to be shown again."""
        return {name: value for name, value in self.form.items() if isinstance(value, str)}


def begin(request: Request, response: Response, settings: AllSettings, secret: str, csrf: str = "") -> None:
    """Give the browser a session, or renew it."""
    value = Session(secret, csrf or secrets.token_urlsafe(24), int(clock.timestamp()))
    response.set_cookie(
        COOKIE,
        sealed.seal(settings, "session", value),
        max_age=IDLE_SECONDS,
        path="/console",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def renewed(request: Request) -> str:
    """Return the cookie of a session that goes on, as a header has it."""
    session: Session = request.scope[RENEW]
    bearer = Response()
    begin(request, bearer, held_by(request.app, AllSettings), session.key, session.csrf)
    return bearer.headers["set-cookie"]


def end(response: Response) -> None:
    """Take the session from the browser."""
    response.delete_cookie(COOKIE, path="/console", httponly=True, samesite="strict")


async def caller_with(request: Request, keys: KeyRing, failures: FailedKeys, secret: str) -> Caller:
    """Return whose key it is; keys that are not known, and requests with one, are limited as the API's are.

    Raises:
        UnauthenticatedError, TooManyRequestsError: it is not let in.
    """
    return await recognise(keys, failures, secret, request.client.host if request.client else "")


async def _visit(request: Request, settings: Settings, keys: Keys, failures: Failures) -> Visit:
    session = sealed.unseal(settings, "session", request.cookies.get(COOKIE, ""), IDLE_SECONDS, SESSION)
    if session is None:
        raise UnauthenticatedError("Sign in with an API key.")
    caller = await caller_with(request, keys, failures, session.key)
    request.scope[PLACE] = caller.place
    logs.project_id.set(caller.project_id)
    if clock.timestamp() - session.at > RENEW_SECONDS:
        request.scope[RENEW] = session
    return Visit(request, caller, session.csrf, settings, FormData())


def shown_to(*scopes: Scope) -> params.Depends:
    """Make a dependency that gives the visit of a page, to those who hold one of `scopes` (none: to all)."""

    async def check(visit: Annotated[Visit, Depends(_visit)]) -> Visit:
        if scopes:
            permit(visit.caller, *scopes)
        return visit

    return params.Depends(check)


def sent_by(*scopes: Scope) -> params.Depends:
    """Make a dependency that gives the visit of a form: its scope, origin and token are checked."""

    async def check(visit: Annotated[Visit, Depends(_visit)]) -> AsyncIterator[Visit]:
        if scopes:
            permit(visit.caller, *scopes)
        check_origin(visit.request)
        # Uploads come by forms too, and the form must be read to find its token: only who may is heard so far.
        if visit.caller.may(Scope.POOLS, Scope.EVENTS):
            allow(visit.request, visit.settings.max_upload_bytes)
        async with body.fields_of(
            visit.request, max_files=1, max_fields=200, max_part_size=32 * 1024**2
        ) as form:
            token = form.get("csrf")
            if not isinstance(token, str) or not hmac.compare_digest(token.encode(), visit.csrf.encode()):
                raise ForbiddenError("The form is too old, or not one of this console. Open the page again.")
            visit.form = form
            yield visit

    return params.Depends(check)


def check_origin(request: Request) -> None:
    """Refuse a form that another site sends.

    Raises:
        ForbiddenError: the browser says that it is from elsewhere, or does not say.
    """
    origin = request.headers.get("origin")
    if origin is None or origin.partition("://")[2] != request.headers.get("host"):
        raise ForbiddenError("The form was not sent from this console.")


Reader = Annotated[Visit, shown_to(Scope.POOLS, Scope.READ)]
Manager = Annotated[Visit, shown_to(Scope.POOLS)]
Assigner = Annotated[Visit, shown_to(Scope.ASSIGN)]
Tracker = Annotated[Visit, shown_to(Scope.EVENTS)]
Admin = Annotated[Visit, shown_to(Scope.ADMIN)]
ManagerForm = Annotated[Visit, sent_by(Scope.POOLS)]
AssignerForm = Annotated[Visit, sent_by(Scope.ASSIGN)]
TrackerForm = Annotated[Visit, sent_by(Scope.EVENTS)]
AdminForm = Annotated[Visit, sent_by(Scope.ADMIN)]
