"""Aggregates: values of a customer's events, and what they are for one customer now."""

from contextlib import suppress

from fastapi import APIRouter, Response
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.console.once import once
from app.console.pages import PAGE, check_sure, json_of, see, seen_or_new, seen_version, show, version_shown
from app.console.pages import model as checked
from app.console.session import Tracker, TrackerForm, Visit
from app.domain.customers import service
from app.domain.customers.errors import AggregateNotFoundError
from app.domain.customers.schemas import AggregateIn, AggregateRecord
from app.domain.persons import service as persons
from app.domain.persons.ids import as_read
from app.platform.database import transaction
from app.platform.errors import DomainError, InvalidRequestError
from app.platform.versions import PreconditionFailedError
from app.schema.texts import Identifier
from app.web import pagination
from app.web.dependencies import Engine

router = APIRouter(prefix="/aggregates")
KEY = TypeAdapter(str)
MATCHES = {"equal": "Values are these whole", "contains": "Lists and objects hold at least these"}
NAME: TypeAdapter[str] = TypeAdapter(Identifier)


@router.get("")
async def page(visit: Tracker, engine: Engine) -> Response:
    """Show the aggregates."""
    return await _page(visit, engine)


@router.post("")
async def put(visit: TrackerForm, engine: Engine) -> Response:
    """Make or replace an aggregate."""
    try:
        name = _name(visit)
        wanted = checked(
            AggregateIn,
            {
                "event_type": visit.given("event_type"),
                "property": visit.given("property"),
                "function": visit.text("function"),
                "where": json_of(visit, "where"),
                "match": visit.given("match"),
            },
        )
        async with transaction(engine) as connection:
            await once(
                connection,
                visit,
                lambda: service.put_aggregate(
                    connection, visit.caller, name, wanted.model_dump(), seen_or_new(visit)
                ),
                lambda put: put.name,
            )
    except DomainError as error:
        return await _page(visit, engine, error=error)
    return see("/aggregates", "aggregate-made")


@router.post("/delete")
async def delete(visit: TrackerForm, engine: Engine) -> Response:
    """Delete an aggregate."""
    name = visit.text("aggregate")
    try:
        check_sure(visit, f"sure-{name}")
        async with transaction(engine) as connection:
            await service.delete_aggregate(connection, visit.caller, name, seen_version(visit))
    except (InvalidRequestError, PreconditionFailedError) as error:
        return await _page(visit, engine, error=error)
    return see("/aggregates", "aggregate-deleted")


def _name(visit: Visit) -> str:
    """Return the name that was typed.

    Raises:
        InvalidRequestError: an aggregate cannot be called so.
    """
    try:
        return NAME.validate_python(visit.given("name") or "")
    except ValidationError as error:
        raise InvalidRequestError.from_errors(error.errors(), "body", "name") from error


async def _in_the_way(
    connection: AsyncConnection, visit: Visit, error: DomainError | None
) -> AggregateRecord | None:
    """Return the aggregate that what was typed would have replaced unseen."""
    if isinstance(error, PreconditionFailedError) and (name := visit.given("name")) is not None:
        with suppress(AggregateNotFoundError):
            return await service.get_aggregate(connection, name)
    return None


async def _page(
    visit: Visit, engine: AsyncEngine, error: DomainError | None = None, **about: object
) -> Response:
    query = visit.request.query_params
    customer_id = as_read(query.get("customer_id", "").strip())
    async with transaction(engine) as connection:
        start = pagination.decode(query.get("cursor"), KEY)
        rows = await service.list_aggregates(connection, start, PAGE + 1)
        listed = pagination.page(rows, PAGE, lambda row: row.name)
        there = await _in_the_way(connection, visit, error)
        values = {}
        if customer_id:
            whose = await persons.current(connection, customer_id)
            for row in listed["items"]:
                found = await service.evaluate(connection, row.name, [whose])
                values[row.name] = found.get(whose)
    return show(
        visit,
        "aggregates.html",
        "/console/aggregates",
        customer_id=customer_id,
        values=values,
        versions={row.name: service.version_of(row) for row in listed["items"]},
        there=there,
        version=version_shown(visit, error, "" if there is None else service.version_of(there)),
        matches=MATCHES,
        **listed,
        error=error,
        **about,
    )
