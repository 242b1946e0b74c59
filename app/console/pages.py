"""How a page is made: templates, the answers to forms, and problems as pages."""

import asyncio
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, quote, urlencode
from uuid import uuid4

import orjson
from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader
from pydantic import BaseModel

from app.console import session
from app.console.session import Visit
from app.console.texts import DONE, MENU, STATES, in_words
from app.platform.errors import DomainError, Fault, InvalidRequestError
from app.platform.versions import Expected, PreconditionFailedError
from app.web.body import validated
from app.web.problems import response_to

Model = TypeVar("Model", bound=BaseModel)
HERE = Path(__file__).parent
PAGE = 50
"""Rows of a list on one page."""

MOST_DIGITS = 18
"""Of a number that is typed; all are below 2 to the power of 63."""


def _number(value: int | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:,}"


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode()


def _utc(value: datetime | str) -> str:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


TEMPLATES = Environment(
    loader=FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
TEMPLATES.filters |= {
    "number": _number,
    "json": _json,
    "utc": _utc,
    "in_words": in_words,
    "pair": lambda value: (value, value),
    "part": lambda value: quote(str(value), safe=""),
}
TEMPLATES.globals |= {"STATES": STATES, "new_form": lambda: uuid4().hex}


def show(
    visit: Visit,
    template: str,
    at: str = "",
    asked: Collection[str] = (),
    /,
    error: DomainError | None = None,
    **about: object,
) -> Response:
    """Return a page.

    Args:
        visit: of whom.
        template: its file.
        at: the address of the page, where it also answers forms that are sent to others.
        asked: names in the query that links to the page, or its own search, fill fields with. No others are filled in:
            what a stranger's link says would be taken for what is saved.
        error: what was wrong with the form that led to it.
        about: what the template shows.
    """
    query = dict(visit.request.query_params)
    next_cursor = about.get("next_cursor")
    text = TEMPLATES.get_template(template).render(
        about
        | {
            "visit": visit,
            "error": error,
            "caller": visit.caller,
            "csrf": visit.csrf,
            "typed": {name: query[name] for name in asked if name in query} | visit.typed,
            "wrong": _by_field(error),
            "done": DONE.get(query.get("done", "")) if error is None else None,
            "menu": _menu(visit),
            "at": at,
            "next_page": _next_page(query, at, str(next_cursor)) if next_cursor else None,
        }
    )
    return HTMLResponse(text, 200 if error is None else error.status)


def _next_page(query: Mapping[str, str], at: str, cursor: str) -> str:
    """Return where a list goes on, with what it was asked for by."""
    page, _, given = at.partition("?")
    kept = {**query, **dict(parse_qsl(given)), "cursor": cursor}
    kept.pop("done", None)
    return f"{page}?{urlencode(kept)}"


def see(path: str, done: str = "", **query: str) -> Response:
    """Return the way to another page of the console, which says what was done."""
    said = {**query, **({"done": done} if done else {})}
    return RedirectResponse("/console" + path + ("?" + urlencode(said) if said else ""), 303)


def path(*parts: object) -> str:
    """Return an address within the console, each part quoted."""
    return "".join("/" + quote(str(part), safe="") for part in parts)


async def problem_page(request: Request, error: Exception) -> Response:
    """Return an error as a page; without a session, the way to the sign-in."""
    answer = response_to(error, request.url.path)
    problem = orjson.loads(answer.body)
    if problem["status"] == 401:  # noqa: PLR2004  (unauthenticated)
        away = RedirectResponse("/console/login?" + urlencode(_back(request)), 303)
        session.end(away)
        return away
    text = TEMPLATES.get_template("problem.html").render(problem=problem)
    headers = {"Retry-After": answer.headers["retry-after"]} if "retry-after" in answer.headers else None
    return HTMLResponse(text, problem["status"], headers)


def _back(request: Request) -> dict[str, str]:
    """Return what the sign-in has to know: where to go on, and that a form which was sent was not obeyed."""
    if request.method == "GET":
        asked = request.scope["raw_path"].decode("latin-1"), request.url.query
        return {"next": "?".join(filter(None, asked))}
    _, slash, page = request.headers.get("referer", "").partition("://")[2].partition("/")
    return {"next": slash + page, "done": "not-done"}


def model(kind: type[Model], values: Mapping[str, object]) -> Model:
    """Return what was typed as an input of a service, without what was left out.

    Raises:
        InvalidRequestError: it is no such; it says which field.
    """
    return validated(kind, {name: value for name, value in values.items() if value is not None})


def seen_version(visit: Visit) -> Expected | None:
    """Return the version that the form was made from: what is changed must still be so."""
    version = visit.given("version")
    return None if version is None else Expected(frozenset({version}))


def seen_or_new(visit: Visit) -> Expected:
    """Return the version that the form was made from: what is saved must still be so, or not be there."""
    return Expected(frozenset({visit.given("version"), None}))


def version_shown(visit: Visit, error: DomainError | None, current: str) -> str:
    """Return the version that the forms of a page bear, empty where nothing is there.

    Where what was typed is shown again it is the one that was seen, until the other one is shown beside it.
    """
    if error is None or isinstance(error, PreconditionFailedError):
        return current
    return visit.typed.get("version", current)


def json_of(visit: Visit, name: str) -> dict[str, object] | None:
    """Return a field that holds a JSON object, or None where nothing was typed.

    Raises:
        InvalidRequestError: it holds something else.
    """
    text = visit.given(name)
    if text is None:
        return None
    try:
        value = orjson.loads(text)
    except ValueError as error:
        raise wrong(name, f"This is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise wrong(name, 'This must be a JSON object, such as {"type": "spring"}.')
    return value


def whole(text: str | None) -> int | str | None:
    """Return what was typed as a whole number, where it is one; anything else as it is, for a model to refuse."""
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > MOST_DIGITS:
        return text
    return int(text)


def end_of_day(text: str | None) -> str | None:
    """Return the end of a day in UTC, where only the day was typed; a time with its zone as it is."""
    return f"{text}T23:59:59Z" if text is not None and len(text) == len("2027-01-31") else text


def renamed(error: InvalidRequestError, place: str, field: str) -> InvalidRequestError:
    """Return the error with the fault at one place put to the field of a form that has another name."""
    faults: list[Fault] = [
        {**fault, "loc": [field]} if fault["loc"][-1] == place else fault for fault in error.errors
    ]
    return InvalidRequestError(error.detail, faults)


def wrong(field: str, message: str) -> InvalidRequestError:
    """Return the error of one field."""
    return InvalidRequestError(message, [{"loc": ["body", field], "msg": message}])


def check_sure(visit: Visit, field: str = "sure") -> None:
    """Check that the box of a form is ticked, for what cannot be undone; `field` is where it is told otherwise.

    Raises:
        InvalidRequestError: it is not.
    """
    if visit.text("sure") != "yes":
        raise wrong(field, "Tick the box to confirm.")


def _by_field(error: DomainError | None) -> dict[str, str]:
    found = error.errors if isinstance(error, InvalidRequestError) else []
    by_field: dict[str, str] = {}
    for item in found:
        places = [str(place) for place in item["loc"] if place not in {"body", "query", "path"}]
        for place in places:
            by_field.setdefault(place, in_words(item["msg"]))
    return by_field


def _menu(visit: Visit) -> list[tuple[str, list[tuple[str, str, bool]]]]:
    here = visit.request.url.path.removeprefix("/console/").split("/")[0]
    here = "pools" if here == "vouchers" else here
    groups = []
    for title, items in MENU:
        seen = [(name, text, name == here) for name, text, scopes in items if visit.caller.may(*scopes)]
        if seen:
            groups.append((title, seen))
    return groups


async def static(name: str) -> Response:
    """Return a file of the console's own."""
    kinds = {"console.css": "text/css", "console.js": "text/javascript", "icon.svg": "image/svg+xml"}
    if name not in kinds:
        return Response(status_code=404)
    text = await asyncio.to_thread((HERE / "static" / name).read_bytes)
    return Response(text, media_type=kinds[name])
