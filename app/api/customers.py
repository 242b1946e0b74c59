"""`/v1/customers` and `/v1/aggregates`."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path, Request, Response, status

from app.domain.access.scopes import Caller, Scope
from app.domain.customers import files, service
from app.domain.customers.errors import AggregateNotFoundError, CustomerNotFoundError
from app.domain.customers.schemas import (
    AggregateIn,
    AggregateOut,
    CustomerOut,
    CustomersImported,
    CustomerUpdate,
    ErasureOut,
    FileFormat,
)
from app.domain.imports.errors import UnreadableError
from app.domain.imports.reader.records import open_records
from app.platform.database import AnyRow
from app.platform.errors import InvalidRequestError, PayloadTooLargeError, UnsupportedMediaTypeError
from app.platform.versions import PreconditionFailedError
from app.schema.texts import Identifier
from app.web import body, etag
from app.web.dependencies import Connection, Engine, Settings
from app.web.guard import requires
from app.web.parameters import CustomerPath
from app.web.problems import problems

router = APIRouter(prefix="/v1", tags=["customers"], dependencies=[requires(Scope.EVENTS)])
FORM_SCHEMA = body.form_schema(
    FileFormat, "CSV, XLSX, XLS or ODS, packed or not; the first row names the columns"
)
NamePath = Annotated[Identifier, Path(description="Name of the aggregate", examples=["last_spring_code"])]


@router.post(
    "/customers/imports",
    responses=problems(InvalidRequestError, UnreadableError, PayloadTooLargeError, UnsupportedMediaTypeError),
    openapi_extra={"requestBody": {"required": True, "content": {body.FORM: {"schema": FORM_SCHEMA}}}},
)
async def import_customers(request: Request, engine: Engine, settings: Settings) -> CustomersImported:
    """Set properties of many customers from a file; the reply names the lines that could not be taken.

    A file that cannot be read from its beginning on changes nothing. Customers are set some hundred at a time; where
    reading fails further on, the same file sets the same again.
    """
    if not body.is_form(request):
        raise UnsupportedMediaTypeError(f"Send {body.FORM} with a `file`.")
    async with body.form(request, settings.max_upload_bytes) as (file, fields):
        wanted = body.validated(FileFormat, fields)
        names = [wanted.id_column] if wanted.id_column else files.ID_COLUMNS
        records = await to_thread.run_sync(open_records, file.file, wanted.delimiter, wanted.encoding, names)
        return await files.load(engine, records, wanted.id_column)


@router.get(
    "/customers/{customer_id:id}", response_model=CustomerOut, responses=problems(CustomerNotFoundError)
)
async def get_customer(customer_id: CustomerPath, connection: Connection) -> AnyRow:
    """Return what is known of a customer."""
    return await service.get(connection, customer_id)


@router.patch(
    "/customers/{customer_id:id}", response_model=CustomerOut, responses=problems(InvalidRequestError)
)
async def update_customer(
    customer_id: CustomerPath, update: CustomerUpdate, connection: Connection
) -> AnyRow:
    """Set properties of a customer; the customer is made if not yet known."""
    return await service.update(connection, customer_id, update.properties)


@router.put(
    "/aggregates/{name:id}",
    response_model=AggregateOut,
    responses=etag.tagged(200) | problems(InvalidRequestError, PreconditionFailedError),
)
async def put_aggregate(
    name: NamePath,
    aggregate: AggregateIn,
    connection: Connection,
    expected: etag.IfMatch,
    response: Response,
) -> AnyRow:
    """Make or replace an aggregate: a value computed from a customer's events when a template asks for it."""
    put = await service.put_aggregate(connection, name, aggregate.model_dump(), expected)
    etag.tag(response, service.version_of(put))
    return put


@router.get(
    "/aggregates/{name:id}",
    response_model=AggregateOut,
    responses=etag.tagged(200) | problems(AggregateNotFoundError),
)
async def get_aggregate(name: NamePath, connection: Connection, response: Response) -> AnyRow:
    """Return one aggregate."""
    found = await service.get_aggregate(connection, name)
    etag.tag(response, service.version_of(found))
    return found


@router.delete(
    "/aggregates/{name:id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(AggregateNotFoundError, PreconditionFailedError),
)
async def delete_aggregate(name: NamePath, connection: Connection, expected: etag.IfMatch) -> None:
    """Delete an aggregate; templates that use it fail from then on."""
    await service.delete_aggregate(connection, name, expected)


@router.delete("/customers/{customer_id:id}", response_model=ErasureOut)
async def erase_customer(
    customer_id: CustomerPath,
    engine: Engine,
    caller: Annotated[Caller, requires(Scope.EVENTS)],
) -> dict[str, int]:
    """Erase a person: who it was is gone everywhere; codes and counts stay. A repeat finds nothing."""
    return await service.erase(engine, caller, customer_id)
