"""`/v1/customers` and `/v1/aggregates`."""

from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Path, UploadFile, status

from app.auth.guard import requires
from app.auth.schemas import Scope
from app.customers import files, service
from app.customers.schemas import AggregateIn, AggregateOut, CustomerOut, CustomersImported, CustomerUpdate
from app.dependencies import Connection, State
from app.errors import (
    AggregateNotFoundError,
    CustomerNotFoundError,
    InvalidRequestError,
    PayloadTooLargeError,
)
from app.problems import problems
from app.texts import Identifier

router = APIRouter(prefix="/v1", tags=["customers"], dependencies=[requires(Scope.EVENTS)])
CustomerPath = Annotated[Identifier, Path(description="Id of the customer", examples=["c-1001"])]
NamePath = Annotated[Identifier, Path(description="Name of the aggregate", examples=["last_spring_code"])]


@router.post(
    "/customers/imports",
    responses=problems(InvalidRequestError, PayloadTooLargeError),
)
async def import_customers(
    connection: Connection,
    state: State,
    file: Annotated[UploadFile, File(description="CSV in UTF-8; the first line names the columns")],
    id_column: Annotated[
        str | None, Form(description="By itself: `customer_id`, `id` or the first column")
    ] = None,
    delimiter: Annotated[str, Form(min_length=1, max_length=1, description="Between cells")] = ",",
) -> CustomersImported:
    """Set properties of many customers; tells of lines that it could not take.

    A file that cannot be read changes nothing.
    """
    if (file.size or 0) > state.settings.max_upload_bytes:
        raise PayloadTooLargeError(f"A file has at most {state.settings.max_upload_bytes} bytes.")
    return await files.load(connection, file.file, id_column, delimiter)


@router.get("/customers/{customer_id}", response_model=CustomerOut, responses=problems(CustomerNotFoundError))
async def get_customer(customer_id: CustomerPath, connection: Connection) -> Any:
    """What is known of a customer."""
    return await service.get(connection, customer_id)


@router.patch("/customers/{customer_id}", response_model=CustomerOut, responses=problems(InvalidRequestError))
async def update_customer(customer_id: CustomerPath, body: CustomerUpdate, connection: Connection) -> Any:
    """Set properties of a customer, who is made if not yet known."""
    return await service.update(connection, customer_id, body.properties)


@router.put("/aggregates/{name}", response_model=AggregateOut, responses=problems(InvalidRequestError))
async def put_aggregate(name: NamePath, body: AggregateIn, connection: Connection) -> Any:
    """Make or replace an aggregate: a value of a customer's events, worked out when a template asks."""
    return await service.put_aggregate(connection, name, body.model_dump())


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
