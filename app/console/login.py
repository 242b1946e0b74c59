"""Sign in and out."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.console import session
from app.console.pages import TEMPLATES, see
from app.console.session import Failures, Keys, Visit, sent_by, shown_to
from app.console.texts import DONE, MENU
from app.domain.access.errors import UnauthenticatedError
from app.web import body
from app.web.body_limit import bound
from app.web.dependencies import Settings

router = APIRouter()
MOST_BYTES = 64 * 1024
MOST_FIELDS = 10
"""Of the form of a sign-in, which anybody may send."""


@router.get("/login")
async def page(request: Request) -> Response:
    """Show the sign-in."""
    return _page(request, request.query_params.get("next", ""))


@router.post("/login")
async def sign_in(
    request: Request,
    settings: Settings,
    keys: Keys,
    failures: Failures,
) -> Response:
    """Begin a session, where the key is known. A stranger's form is looked at before it is read, and is small."""
    session.check_origin(request)
    bound(request, MOST_BYTES)
    async with body.fields_of(request, max_files=0, max_fields=MOST_FIELDS) as form:
        api_key, wanted = (str(form.get(name, "")).strip() for name in ("api_key", "next"))
    try:
        await session.caller_with(request, keys, failures, api_key)
    except UnauthenticatedError:
        return _page(request, wanted, "This API key is not known, has expired, or was revoked.", 401)
    # Only addresses of the console, so that nobody is led elsewhere.
    page = wanted.partition("?")[0]
    inside = page.startswith("/console/") and "\\" not in page and "//" not in page
    response = RedirectResponse(wanted if inside else "/console/", 303)
    session.begin(request, response, settings, api_key)
    return response


@router.post("/logout")
async def sign_out(_: Annotated[Visit, sent_by()]) -> Response:
    """End the session."""
    response = see("/login", "signed-out")
    session.end(response)
    return response


@router.get("/")
async def home(visit: Annotated[Visit, shown_to()]) -> Response:
    """Lead to the first page that the key may see."""
    for _, items in MENU:
        for name, _, scopes in items:
            if visit.caller.may(*scopes):
                return see(f"/{name}")
    raise UnauthenticatedError("This key may see no page.")


def _page(request: Request, wanted: str, error: str = "", status: int = 200) -> Response:
    done = DONE.get(request.query_params.get("done", ""))
    text = TEMPLATES.get_template("login.html").render(error=error, next=wanted, done=done)
    return HTMLResponse(text, status)
