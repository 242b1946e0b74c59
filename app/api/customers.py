"""`/v1/customers` and `/v1/aggregates`."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request, Response, status
from pydantic import TypeAdapter

from app.domain.access.scopes import Caller, Scope
from app.domain.customers import files, service
from app.domain.customers.errors import AggregateNotFoundError, CustomerNotFoundError
from app.domain.customers.schemas import (
    AggregateIn,
    AggregateOut,
    AggregateRecord,
    CustomerFilter,
    CustomerMerge,
    CustomerOut,
    CustomerRecord,
    CustomersImported,
    CustomerUpdate,
    ErasureOut,
    EventOut,
    EventRecord,
    FileFormat,
    MergedOut,
)
from app.domain.imports.errors import UnreadableError
from app.domain.imports.reader.records import open_records
from app.domain.tracking import merge as merging
from app.platform.database import run_act
from app.platform.errors import (
    InvalidRequestError,
    PayloadTooLargeError,
    UnsupportedMediaTypeError,
)
from app.platform.versions import PreconditionFailedError
from app.schema.texts import Identifier
from app.web import body, etag, pagination
from app.web.dependencies import Connection, Engine, Settings
from app.web.guard import requires
from app.web.headers import bearing
from app.web.idempotency import OnceIn
from app.web.parameters import CustomerPath
from app.web.problems import problems
from app.web.reading import ReadConnection

router = APIRouter(prefix="/v1", tags=["customers"], dependencies=[requires(Scope.EVENTS)])
FORM_SCHEMA = body.form_schema(
    FileFormat, "CSV or another text, XLSX, XLSB, XLS or ODS; packed or not. The first row names the columns"
)
NAME_KEY = TypeAdapter(str)
EVENT_KEY = TypeAdapter(service.EventKey)
"""What the cursors of the lists hold."""
NamePath = Annotated[Identifier, Path(description="Name of the aggregate", examples=["last_spring_code"])]


@router.post(
    "/customers/imports",
    response_model=CustomersImported,
    responses=bearing(200, "Idempotency-Replayed")
    | problems(InvalidRequestError, UnreadableError, PayloadTooLargeError, UnsupportedMediaTypeError),
    openapi_extra={"requestBody": {"required": True, "content": {body.FORM: {"schema": FORM_SCHEMA}}}},
)
async def import_customers(request: Request, engine: Engine, settings: Settings, keyed: OnceIn) -> object:
    """Set properties of many customers from a file; the reply names the lines that could not be taken.

    A file that cannot be read from its beginning on changes nothing. Customers are set some hundred at a time; where
    reading fails further on, the same file sets the same again.
    """
    if not body.is_form(request):
        raise UnsupportedMediaTypeError(f"Send {body.FORM} with a `file`.")
    async with body.form(request, settings.max_upload_bytes) as (file, fields):
        wanted = body.validated(FileFormat, fields)
        names = [wanted.id_column] if wanted.id_column else files.ID_COLUMNS

        async def load() -> CustomersImported:
            records = await to_thread.run_sync(
                open_records, file.file, wanted.delimiter, wanted.encoding, names, wanted.sheet
            )
            return await files.load(engine, records, wanted.id_column)

        async def same() -> str:
            return f"{await to_thread.run_sync(body.digest_of, file.file)} {wanted.model_dump_json()}"

        return await keyed.once_done(engine, load, same)


@router.get("/customers", response_model=pagination.Page[CustomerOut], responses=bearing(200, "Data-Age"))
async def list_customers(
    connection: ReadConnection,
    id_prefix: Annotated[Identifier | None, Query(description="The id begins with this")] = None,
    property: Annotated[  # noqa: A002  (the name of the parameter)
        Identifier | None, Query(description="That have this property")
    ] = None,
    value: Annotated[
        str | None, Query(max_length=1000, pattern=r"^[^\x00]*$", description="… with this value, as a text")
    ] = None,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> pagination.Listed[CustomerRecord]:
    """List customers by id.

    For a page at most 3,000 are read: by a property it may hold fewer than `limit`, even none, and go on all the same.
    """
    if value is not None and property is None:
        raise InvalidRequestError(
            "A value needs its property.", [{"loc": ["query", "value"], "msg": "give property too"}]
        )
    wanted = CustomerFilter(id_prefix, property, value)
    rows, go_on = await service.search(connection, wanted, pagination.decode(cursor, NAME_KEY), limit + 1)
    listed = pagination.page(rows, limit, lambda row: row.id)
    if listed["next_cursor"] is None and go_on is not None:
        listed["next_cursor"] = pagination.encode(go_on)
    return listed


@router.get(
    "/customers/{customer_id:id}/events",
    response_model=pagination.Page[EventOut],
    responses=bearing(200, "Data-Age"),
)
async def list_customer_events(
    customer_id: CustomerPath,
    connection: ReadConnection,
    event_type: Annotated[Identifier | None, Query(description="Only of this type")] = None,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> pagination.Listed[EventRecord]:
    """List what a customer did, newest first; of one who is not known, nothing."""
    key = pagination.decode(cursor, EVENT_KEY)
    rows = await service.latest_events(connection, customer_id, limit + 1, event_type, key)
    return pagination.page(rows, limit, lambda row: (row.timestamp, row.arrival, row.id))


@router.get("/aggregates", response_model=pagination.Page[AggregateOut])
async def list_aggregates(
    connection: Connection, limit: pagination.Limit = 100, cursor: pagination.Cursor = None
) -> pagination.Listed[AggregateRecord]:
    """List aggregates by name."""
    rows = await service.list_aggregates(connection, pagination.decode(cursor, NAME_KEY), limit + 1)
    return pagination.page(rows, limit, lambda row: row.name)


@router.get(
    "/customers/{customer_id:id}", response_model=CustomerOut, responses=problems(CustomerNotFoundError)
)
async def get_customer(customer_id: CustomerPath, connection: Connection) -> CustomerRecord:
    """Return what is known of a customer."""
    return await service.get(connection, customer_id)


@router.patch(
    "/customers/{customer_id:id}",
    response_model=CustomerOut,
    responses=problems(InvalidRequestError),
)
async def update_customer(
    customer_id: CustomerPath, update: CustomerUpdate, engine: Engine
) -> CustomerRecord:
    """Set properties of a customer; the customer is made if not yet known."""
    return await run_act(engine, service.update, customer_id, update.properties)


@router.post(
    "/customers/{customer_id:id}/merge",
    response_model=MergedOut,
    responses=bearing(200, "Idempotency-Replayed"),
)
async def merge_customers(
    customer_id: CustomerPath,
    body: CustomerMerge,
    engine: Engine,
    caller: Annotated[Caller, requires(Scope.EVENTS)],
    keyed: OnceIn,
) -> object:
    """Say that two customers are one person: what is known of `from`, and all that it was given and did, moves here.

    Properties that this customer has stay; those it lacks come from the other. From then on the other id leads here,
    in whatever comes later too, and a message that was sent to either before shows the same code again. It cannot be
    taken back. Once more, it changes nothing. Where the other is merged into a third, that one is meant.
    """
    return await keyed.once_done(engine, lambda: merging.merge(engine, caller, customer_id, body.from_))


@router.put(
    "/aggregates/{name:id}",
    response_model=AggregateOut,
    responses=bearing(200, "ETag") | problems(InvalidRequestError, PreconditionFailedError),
)
async def put_aggregate(
    name: NamePath,
    aggregate: AggregateIn,
    connection: Connection,
    caller: Annotated[Caller, requires(Scope.EVENTS)],
    expected: etag.IfMatch,
    response: Response,
) -> AggregateRecord:
    """Make or replace an aggregate: a value computed from a customer's events when a template asks for it."""
    put = await service.put_aggregate(connection, caller, name, aggregate.model_dump(), expected)
    etag.tag(response, service.version_of(put))
    return put


@router.get(
    "/aggregates/{name:id}",
    response_model=AggregateOut,
    responses=bearing(200, "ETag") | problems(AggregateNotFoundError),
)
async def get_aggregate(name: NamePath, connection: Connection, response: Response) -> AggregateRecord:
    """Return one aggregate."""
    found = await service.get_aggregate(connection, name)
    etag.tag(response, service.version_of(found))
    return found


@router.delete(
    "/aggregates/{name:id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(AggregateNotFoundError, PreconditionFailedError),
)
async def delete_aggregate(
    name: NamePath,
    connection: Connection,
    caller: Annotated[Caller, requires(Scope.EVENTS)],
    expected: etag.IfMatch,
) -> None:
    """Delete an aggregate; templates that use it fail from then on."""
    await service.delete_aggregate(connection, caller, name, expected)


@router.delete("/customers/{customer_id:id}", response_model=ErasureOut)
async def erase_customer(
    customer_id: CustomerPath,
    engine: Engine,
    caller: Annotated[Caller, requires(Scope.EVENTS)],
) -> dict[str, int]:
    """Erase a person: who it was is gone everywhere; codes and counts stay. A repeat finds nothing."""
    return await service.erase(engine, caller, customer_id)
