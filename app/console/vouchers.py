"""One voucher: where it stands, what happened to it, and what may be done with it."""

from uuid import UUID

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from app.console.pages import check_sure, path, renamed, see, show
from app.console.pages import model as checked
from app.console.session import AssignerForm, ManagerForm, Reader, TrackerForm, Visit
from app.domain.access.scopes import Scope
from app.domain.assignments import service as assignments
from app.domain.changes import service as changes
from app.domain.changes.schemas import BulkChangeCreate
from app.domain.redemptions import service as redemptions
from app.domain.redemptions.schemas import RedemptionIn
from app.domain.vouchers import service
from app.platform.database import run_act, transaction
from app.platform.errors import DomainError, InvalidRequestError
from app.schema.texts import Why
from app.web.dependencies import Connection, Engine, held_by
from app.web.guard import permit
from app.web.guessed_codes import GuessedCodes
from app.web.parameters import CodePath

router = APIRouter(prefix="/vouchers")


@router.get("/{code:id}")
async def one(code: CodePath, visit: Reader, connection: Connection) -> Response:
    """Show a voucher and its history."""
    return await _show(visit, connection, code)


@router.post("/{code:id}/void")
async def void(code: CodePath, visit: ManagerForm, engine: Engine) -> Response:
    """Take a code out for good."""
    try:
        check_sure(visit, "sure-void")
        async with transaction(engine) as connection:
            await service.void(connection, visit.caller, code, _reason(visit, "void_reason"))
    except DomainError as error:
        return await _again(visit, engine, code, error)
    return see(path("vouchers", code), "voided")


@router.post("/{code:id}/reinstate")
async def reinstate(code: CodePath, visit: ManagerForm, engine: Engine) -> Response:
    """Take back that a code was taken out: a change of this one, as a bulk change is."""
    try:
        check_sure(visit, "sure-reinstate")
        reason = _reason(visit, "reinstate_reason")
        wanted = BulkChangeCreate.model_validate(
            {"action": "reinstate", "filter": {"codes": [code]}, "reason": reason}
        )
        async with transaction(engine) as connection:
            change, _ = await changes.begin(connection, visit.caller, wanted, idempotency_key=visit.sent_as())
    except DomainError as error:
        return await _again(visit, engine, code, error)
    return see(path("changes", change.id), "change-begun")


@router.post("/{code:id}/release/{assignment_id}")
async def release(code: CodePath, assignment_id: UUID, visit: AssignerForm, engine: Engine) -> Response:
    """Make a code available again."""
    try:
        check_sure(visit, "sure-release")
        async with transaction(engine) as connection:
            await assignments.release(
                connection, visit.caller, assignment_id, _reason(visit, "release_reason")
            )
    except DomainError as error:
        return await _again(visit, engine, code, error)
    return see(path("vouchers", code), "released")


@router.post("/{code:id}/redeem")
async def redeem(code: CodePath, visit: TrackerForm, engine: Engine) -> Response:
    """Redeem a code without an event."""
    try:
        check_sure(visit, "sure-redeem")
        wanted = checked(RedemptionIn, {"customer_id": visit.given("customer_id")})
        await run_act(engine, redemptions.redeem, code, wanted.customer_id, None, visit.sent_as())
    except DomainError as error:
        return await _again(visit, engine, code, error)
    return see(path("vouchers", code), "redeemed")


async def _again(visit: Visit, engine: Engine, code: str, error: DomainError) -> Response:
    async with transaction(engine) as connection:
        return await _show(visit, connection, code, error)


async def _show(
    visit: Visit, connection: AsyncConnection, code: str, error: DomainError | None = None
) -> Response:
    permit(visit.caller, Scope.POOLS, Scope.READ)  # who may only act on it sees no more than before
    with held_by(visit.request.app, GuessedCodes).of(visit.caller):
        voucher = await service.get(connection, code)
    return show(visit, "voucher.html", error=error, voucher=voucher, address=path("vouchers", code))


def _reason(visit: Visit, field: str) -> str | None:
    """Return why something is done, where that was typed."""
    try:
        wanted: Why = checked(Why, {"reason": visit.given(field)})
    except InvalidRequestError as error:
        raise renamed(error, "reason", field) from error
    return wanted.reason
