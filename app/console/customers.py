"""Customers: what is known of them, the nodes of a scenario for one of them, and erasure."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Response
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.datastructures import UploadFile

from app.console.pages import PAGE, check_sure, path, see, show, wrong
from app.console.pages import model as checked
from app.console.session import Tracker, TrackerForm, Visit
from app.domain.access.scopes import Scope
from app.domain.assignments import service as assignments
from app.domain.assignments.schemas import Filter, LedgerRow
from app.domain.customers import files, service
from app.domain.customers.errors import CustomerNotFoundError
from app.domain.customers.schemas import CustomerFilter, CustomerMerge, CustomerUpdate, FileFormat
from app.domain.imports.errors import ImportUndecidedError
from app.domain.imports.reader.records import open_records
from app.domain.persons import service as persons
from app.domain.persons.ids import CustomerId
from app.domain.rendering import nodes
from app.domain.rendering.renderers import Renderers
from app.domain.rendering.schemas import MessageTarget, Mode, NodeRequest, RenderSpec, parts_of
from app.domain.tracking import merge as merging
from app.platform.database import run_act, transaction
from app.platform.errors import DomainError
from app.schema.texts import Input
from app.web import pagination
from app.web.dependencies import Engine, held_for_project
from app.web.guard import permit
from app.web.parameters import CustomerPath

router = APIRouter(prefix="/customers")
KEY = TypeAdapter(str)
GIVEN_KEY = TypeAdapter(assignments.Key)
NODES = {"properties": nodes.set_properties, "events": nodes.add_event}


class Whom(Input):
    """Whose page is asked for."""

    customer_id: CustomerId


@router.get("")
async def list_customers(visit: Tracker, engine: Engine) -> Response:
    """Show customers, or those whose ids begin with what is searched for."""
    return await _list(visit, engine)


@router.post("")
async def load(visit: TrackerForm, engine: Engine) -> Response:
    """Set properties of the customers in a file."""
    try:
        file = visit.form.get("file")
        if not isinstance(file, UploadFile) or not file.filename:
            raise wrong("file", "Choose a file.")
        wanted = checked(FileFormat, {"id_column": visit.given("id_column"), "sheet": visit.given("sheet")})
        names = [wanted.id_column] if wanted.id_column else files.ID_COLUMNS
        records = await to_thread.run_sync(
            open_records, file.file, wanted.delimiter, wanted.encoding, names, wanted.sheet
        )
        figures = await files.load(engine, records, wanted.id_column)
    except ImportUndecidedError as asked:
        told = wrong("sheet", asked.detail) if "sheet" in asked.choices else asked
        return await _list(visit, engine, error=told)
    except DomainError as error:
        return await _list(visit, engine, error=error)
    return await _list(visit, engine, figures=figures)


@router.post("/open")
async def look_up(visit: TrackerForm, engine: Engine) -> Response:
    """Go to a customer, who need not be known yet."""
    try:
        wanted = checked(Whom, {"customer_id": visit.given("customer_id")})
    except DomainError as error:
        return await _list(visit, engine, error=error)
    return see(path("customers", wanted.customer_id))


@router.get("/{customer_id:id}")
async def one(customer_id: CustomerPath, visit: Tracker, engine: Engine) -> Response:
    """Show a customer."""
    return await _one(visit, engine, customer_id)


@router.post("/{customer_id:id}/change")
async def change(customer_id: CustomerPath, visit: TrackerForm, engine: Engine) -> Response:
    """Set one property; an empty value takes it away."""
    try:
        name = visit.given("name")
        if name is None:
            raise wrong("name", "Give the property a name.")
        wanted = checked(CustomerUpdate, {"properties": {name: visit.text("value") or None}})
        await run_act(engine, service.update, customer_id, wanted.properties)
    except DomainError as error:
        return await _one(visit, engine, customer_id, error=error)
    return see(path("customers", customer_id), "customer-changed")


@router.post("/{customer_id:id}/node")
async def run_node(
    customer_id: CustomerPath,
    visit: TrackerForm,
    engine: Engine,
    renderers: Annotated[Renderers, held_for_project(Renderers)],
) -> Response:
    """Run *set attribute* or *add event* for the customer, or preview it."""
    permit(visit.caller, Scope.ASSIGN)
    node = NODES["events" if visit.text("node") == "events" else "properties"]
    mode = Mode.SEND if visit.text("go") == "run" else Mode.PREVIEW
    try:
        wanted = checked(NodeRequest, {"template": visit.text("template"), "mode": mode})
        spec = RenderSpec(parts_of(wanted.template, None), None, wanted.mode)
        # Sent again, it takes no second code.
        target = MessageTarget(customer_id, visit.sent_as(), is_new=False)
        codes, stored = await node(engine, renderers, spec, target)
    except DomainError as error:
        return await _one(visit, engine, customer_id, error=error)
    result = {"stored": stored, "vouchers": codes}
    return await _one(visit, engine, customer_id, result=result, mode=mode)


@router.post("/{customer_id:id}/merge")
async def merge(customer_id: CustomerPath, visit: TrackerForm, engine: Engine) -> Response:
    """Say that another id is the same person."""
    try:
        check_sure(visit, "sure_merge")
        wanted = checked(CustomerMerge, {"from": visit.given("from")})
        merged = await merging.merge(engine, visit.caller, customer_id, wanted.from_)
    except DomainError as error:
        return await _one(visit, engine, customer_id, error=error)
    return see(path("customers", merged.customer_id), "customers-merged")


@router.post("/{customer_id:id}/erase")
async def erase(customer_id: CustomerPath, visit: TrackerForm, engine: Engine) -> Response:
    """Erase a person."""
    try:
        check_sure(visit)
    except DomainError as error:
        return await _one(visit, engine, customer_id, error=error)
    await service.erase(engine, visit.caller, customer_id)
    return see("/customers", "customer-erased")


async def _list(
    visit: Visit, engine: AsyncEngine, error: DomainError | None = None, **about: object
) -> Response:
    query = visit.request.query_params
    search = query.get("search", "").strip()
    async with transaction(engine) as connection:
        start = pagination.decode(query.get("cursor"), KEY)
        rows, _ = await service.search(connection, CustomerFilter(search or None), start, PAGE + 1)
    listed = pagination.page(rows, PAGE, lambda row: row.id)
    return show(visit, "customers.html", "/console/customers", error=error, search=search, **listed, **about)


async def _one(
    visit: Visit, engine: AsyncEngine, customer_id: str, error: DomainError | None = None, **about: object
) -> Response:
    async with transaction(engine) as connection:
        try:
            known = await service.get(connection, customer_id)
        except CustomerNotFoundError:
            known = None
        tracked = await persons.tracked_of(connection, customer_id)
        events = await service.latest_events(connection, customer_id, PAGE)
        given: pagination.Listed[LedgerRow] = {"items": [], "next_cursor": None}
        if visit.caller.may(Scope.POOLS, Scope.READ):  # as the API's list of assignments
            start = pagination.decode(visit.request.query_params.get("cursor"), GIVEN_KEY)
            found = await assignments.list_page(connection, Filter(customer_id=customer_id), start, PAGE + 1)
            given = pagination.page(found.rows, PAGE, lambda row: (row.pool_id, row.assigned_at, row.id))
    return show(
        visit,
        "customer.html",
        "/console" + path("customers", customer_id),
        customer_id=customer_id,
        known=known,
        tracked=tracked,
        events=events,
        **given,
        error=error,
        **about,
    )
