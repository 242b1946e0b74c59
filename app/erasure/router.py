"""`DELETE /v1/customers/{customer_id}`."""

from typing import Annotated

from fastapi import APIRouter, Path

from app.audit import service as audit
from app.auth.guard import requires
from app.auth.schemas import Caller, Scope
from app.dependencies import Connection
from app.erasure import service
from app.erasure.schemas import ErasureOut
from app.texts import Identifier

router = APIRouter(prefix="/v1/customers", tags=["customers"])


@router.delete("/{customer_id}", response_model=ErasureOut)
async def erase_customer(
    customer_id: Annotated[Identifier, Path(description="Id of the customer")],
    connection: Connection,
    caller: Annotated[Caller, requires(Scope.EVENTS)],
) -> dict[str, int]:
    """Erase a person: who it was is gone everywhere; codes and counts stay. Once more, it finds nothing."""
    erased = await service.erase(connection, customer_id)
    await audit.record(
        connection, caller, "customer.erased", erased=erased
    )  # not who: that is to be forgotten
    return erased
