"""Errors as problem documents (RFC 9457), the framework's own included."""

from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from urllib.parse import quote

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from psycopg.errors import OperationalError as PsycopgOperationalError
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from app.platform import disk
from app.platform.connections import BehindError
from app.platform.database import is_conflict
from app.platform.errors import (
    ChangesConflictError,
    DatabaseUnavailableError,
    DomainError,
    InvalidRequestError,
    PayloadTooLargeError,
    ProjectMovingError,
    UnsupportedMediaTypeError,
)
from app.platform.logs import request_id
from app.platform.moves import is_moving
from app.web import trackers, unknown_fields
from app.web.body import not_json
from app.web.headers import Responses
from app.web.problem_document import MEDIA_TYPE, members
from app.web.slashes import STAND_IN

log = structlog.get_logger()
UNAVAILABLE = (OperationalError, InterfaceError, PoolTimeoutError, PsycopgOperationalError)
_NAMES = {413: PayloadTooLargeError.name, 415: UnsupportedMediaTypeError.name}


class FieldError(BaseModel):
    """One thing that is wrong with a request."""

    loc: list[str | int] = Field(
        description="Place of the fault, from the outside in; empty where it is not known",
        examples=[["body", "name"]],
    )
    msg: str = Field(description="What is wrong there")


class Problem(BaseModel):
    """A problem document (RFC 9457); further members tell more where they help."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Reference to the kind of problem", examples=["/problems/pool-not-found"])
    title: str = Field(description="The kind of problem in words")
    status: int = Field(description="HTTP status")
    detail: str = Field(description="What is wrong in this case")
    instance: str = Field(description="Path of the request; empty where it was refused unread")
    request_id: str | None = Field(default=None, description="Id of the request, as in the log")
    errors: list[FieldError] | None = Field(default=None, description="What is wrong, and where")


def problem(error: DomainError, instance: str) -> Response:
    """Return the error as a response."""
    return _response(
        error.status, error.name, error.title, error.detail, instance, error.extra, error.headers
    )


def response_to(error: Exception, instance: str) -> Response:
    """Return the response to any error, where no framework is there to choose the handler."""
    if is_moving(error):
        error = ProjectMovingError()
    if isinstance(error, DomainError):
        return problem(error, instance)
    if is_conflict(error):
        log.warning("changes conflict", error=type(error).__name__)
        return problem(ChangesConflictError(), instance)
    if disk.is_full(error):
        log.error("disk full", error=type(error).__name__)
        return problem(disk.NoRoomError(), instance)
    if isinstance(error, UNAVAILABLE):
        log.error("database unavailable", error=type(error).__name__)
        return problem(_why_unavailable(error), instance)
    if isinstance(error, DataError):
        said = "A value cannot be stored, for instance one out of range."
        return problem(InvalidRequestError(said, [{"loc": [], "msg": said}]), instance)
    log.error("unexpected error", exc_info=error)
    return _response(500, "internal-error", "Internal error", "This is a fault of the service.", instance, {})


def _why_unavailable(error: Exception) -> DatabaseUnavailableError:
    if isinstance(getattr(error, "orig", None) or error, BehindError):
        said = "The project's database is not migrated to this release yet; nothing was changed. Try again later."
        return DatabaseUnavailableError(said)
    return DatabaseUnavailableError()


def problems(*errors: type[DomainError]) -> Responses:
    """Return the `responses=` of a route that raises these errors."""
    by_status: dict[int | str, list[type[DomainError]]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error)
    return {
        status: {
            "description": " · ".join(f"`{error.name}`: {error.title}" for error in group),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, group in by_status.items()
    }


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in (DomainError, *UNAVAILABLE, OSError, DataError, Exception):
        app.add_exception_handler(kind, _other)


def _response(
    status: int,
    name: str,
    title: str,
    detail: str,
    instance: str,
    extra: Mapping[str, object],
    headers: Mapping[str, str] | None = None,
) -> Response:
    if instance.startswith(trackers.PREFIX):
        status, told = trackers.errors_of(status, detail, extra)
        return Response(
            orjson.dumps(told), status, media_type="application/json", headers=dict(headers or {})
        )
    body = {
        **members(name, title, status, detail),
        "instance": instance.replace(quote(STAND_IN), "%2F").replace(STAND_IN, "/"),
        "request_id": request_id.get(),
        **extra,
    }
    return Response(
        orjson.dumps(body, default=str), status, media_type=MEDIA_TYPE, headers=dict(headers or {})
    )


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  (narrows the type)
    if error.body is not None and not _is_json(request):
        return problem(
            UnsupportedMediaTypeError("Send JSON, with the header 'Content-Type: application/json'."),
            request.url.path,
        )
    errors = error.errors()
    if len(errors) == 1 and errors[0]["type"] == "json_invalid" and isinstance(error.body, str):
        return problem(
            _not_json(error.body, errors[0]["loc"][-1], errors[0]["ctx"]["error"]), request.url.path
        )
    body = getattr(request.scope.get("route"), "body_field", None)
    if body is not None:
        errors = unknown_fields.named(errors, [body.field_info.annotation], prefix=1)
    return problem(InvalidRequestError.from_errors(errors), request.url.path)


def _not_json(body: str, place: int, said: str) -> InvalidRequestError:
    before = body[:place]
    return not_json(said, before.count("\n") + 1, len(before) - before.rfind("\n"))


def _allowed(request: Request) -> str:
    """Return the methods of a path, of all routes that have it; of two templates that fit, the one that says more."""
    fitting: dict[str, set[str]] = {}
    for route in routes_of(request.app.routes):
        if route.path_regex.match(request.scope["path"]):
            fitting.setdefault(route.path, set()).update(route.methods or ())
    methods = fitting[min(fitting, key=lambda path: (path.count("{"), -len(path)))] if fitting else set()
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def routes_of(routes: Iterable[object]) -> Iterator[APIRoute]:
    """Yield the API's routes, those of routers that were included too."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "original_router"):
            yield from routes_of(route.original_router.routes)


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  (narrows the type)
    if isinstance(error.__cause__, DomainError):  # raised while the framework read the body
        return problem(error.__cause__, request.url.path)
    if error.status_code == HTTPStatus.BAD_REQUEST:  # the framework's word for a body that is no text
        detail = "The body cannot be read: it is not JSON in UTF-8."
        return problem(
            InvalidRequestError(detail, [{"loc": ["body"], "msg": str(error.detail)}]), request.url.path
        )
    title = HTTPStatus(error.status_code).phrase
    name = _NAMES.get(error.status_code) or title.lower().replace(" ", "-")
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed(request)
    return _response(error.status_code, name, title, str(error.detail), request.url.path, {}, headers)


async def _other(request: Request, error: Exception) -> Response:
    return response_to(error, request.url.path)
