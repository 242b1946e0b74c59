"""`/v1/customers` and `/v1/aggregates`."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, status

from app import body
from app.auth.guard import requires
from app.auth.schemas import Scope
from app.customers import files, service
from app.customers.schemas import (
    AggregateIn,
    AggregateOut,
    CustomerOut,
    CustomersImported,
    CustomerUpdate,
    FileFormat,
)
from app.database import transaction
from app.dependencies import Connection, State
from app.errors import (
    AggregateNotFoundError,
    CustomerNotFoundError,
    InvalidRequestError,
    PayloadTooLargeError,
    UnsupportedMediaTypeError,
)
from app.problems import problems
from app.texts import Identifier

router = APIRouter(prefix="/v1", tags=["customers"], dependencies=[requires(Scope.EVENTS)])
CustomerPath = Annotated[Identifier, Path(description="Id of the customer", examples=["c-1001"])]
FORM_SCHEMA = body.form_schema(FileFormat, "CSV in UTF-8; the first line names the columns")
NamePath = Annotated[Identifier, Path(description="Name of the aggregate", examples=["last_spring_code"])]


@router.post(
    "/customers/imports",
    responses=problems(InvalidRequestError, PayloadTooLargeError, UnsupportedMediaTypeError),
    openapi_extra={"requestBody": {"required": True, "content": {body.FORM: {"schema": FORM_SCHEMA}}}},
)
async def import_customers(request: Request, state: State) -> CustomersImported:
    """Set properties of many customers; tells of lines that it could not take.

    A file that cannot be read changes nothing.
    """
    if not body.is_form(request):
        raise UnsupportedMediaTypeError(f"Send {body.FORM} with a `file`.")
    async with body.form(request, state.settings.max_upload_bytes) as (file, fields):
        wanted = body.validated(FileFormat, fields)
        async with transaction(state.engine) as connection:
            return await files.load(connection, file.file, wanted.id_column, wanted.delimiter)


@router.get("/customers/{customer_id}", response_model=CustomerOut, responses=problems(CustomerNotFoundError))
async def get_customer(customer_id: CustomerPath, connection: Connection) -> Any:
    """What is known of a customer."""
    return await service.get(connection, customer_id)


@router.patch("/customers/{customer_id}", response_model=CustomerOut, responses=problems(InvalidRequestError))
async def update_customer(customer_id: CustomerPath, update: CustomerUpdate, connection: Connection) -> Any:
    """Set properties of a customer, who is made if not yet known."""
    return await service.update(connection, customer_id, update.properties)


@router.put("/aggregates/{name}", response_model=AggregateOut, responses=problems(InvalidRequestError))
async def put_aggregate(name: NamePath, aggregate: AggregateIn, connection: Connection) -> Any:
    """Make or replace an aggregate: a value of a customer's events, worked out when a template asks."""
    return await service.put_aggregate(connection, name, aggregate.model_dump())


@router.get("/aggregates/{name}", response_model=AggregateOut, responses=problems(AggregateNotFoundError))
async def get_aggregate(name: NamePath, connection: Connection) -> Any:
    """One aggregate."""
    return await service.get_aggregate(connection, name)


@router.delete(
    "/aggregates/{name}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(AggregateNotFoundError),
)
async def delete_aggregate(name: NamePath, connection: Connection) -> None:
    """Delete an aggregate; templates that use it fail from then on."""
    await service.delete_aggregate(connection, name)
