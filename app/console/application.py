"""The console as an application of its own, mounted under `/console`."""

from http import HTTPStatus
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from sqlalchemy.exc import DataError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.console import (
    aggregates,
    alerts,
    audit,
    changes,
    customers,
    imports,
    keys,
    login,
    mapping,
    personalization,
    pools,
    projects,
    redemptions,
    schedules,
    session,
    vouchers,
    webhooks,
    wizard,
)
from app.console.pages import problem_page, static
from app.platform.errors import DomainError, InvalidRequestError, NotFoundError
from app.web.home import home
from app.web.problems import UNAVAILABLE, routes_of
from app.web.reading import backed
from app.web.slashes import STAND_IN

PAGES = (
    login, pools, vouchers, changes, wizard, imports, schedules, mapping, personalization, customers, aggregates,
    redemptions, alerts, webhooks, audit, keys, projects,
)  # fmt: skip
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers would not say where a form comes from
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def mount(app: FastAPI) -> None:
    """Put the console into the service, and lead people there."""
    console = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    console.state = app.state  # what the process holds
    for page in PAGES:
        console.include_router(backed(page.router))
    console.add_api_route("/static/{name}", static)
    for kind in (DomainError, *UNAVAILABLE, OSError, DataError, Exception):
        console.add_exception_handler(kind, problem_page)
    console.add_exception_handler(RequestValidationError, _invalid)
    console.add_exception_handler(HTTPException, _http)
    app.mount("/console", _Careful(console))
    app.add_api_route("/", home, include_in_schema=False)
    app.add_api_route("/console", _home, include_in_schema=False)


async def _home() -> Response:
    return RedirectResponse("/console/", 303)


class _Careful:
    """ASGI middleware: every answer bears the headers, and the cookie of a session that goes on.

    The framework's own kind of middleware would wrap what goes wrong while a form is read, so that nobody knew it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if session.RENEW in scope and "set-cookie" not in headers:
                    headers["set-cookie"] = session.renewed(Request(scope))
            await send(message)

        await self._app(scope, receive, send_with_headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  (narrows the type)
    return await problem_page(request, InvalidRequestError.from_errors(error.errors()))


class _NotFoundError(NotFoundError):
    """No page of the console is at this address."""

    title = "There is no such page"


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  (narrows the type)
    if isinstance(error.__cause__, DomainError):
        return await problem_page(request, error.__cause__)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return await problem_page(request, _NotFoundError("Nothing is at this address."))
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return _page_above(request) if request.method == "GET" else Response(None, 405, error.headers)
    return await problem_page(request, InvalidRequestError.of_body(str(error.detail)))


def _page_above(request: Request) -> Response:
    """Lead from the address of a form, which an answer to it leaves in the browser, to the page that it stands on."""
    pages = [route.path_regex for route in routes_of(request.app.routes) if "GET" in (route.methods or ())]
    way = request.scope["path"].removeprefix("/console")
    while way and not any(page.match(way) for page in pages):
        way = way.rpartition("/")[0]
    return RedirectResponse(
        f"/console{quote(way).replace(quote(STAND_IN), '%2F')}" if way else "/console/", 303
    )
