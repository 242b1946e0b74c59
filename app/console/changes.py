"""*Data & Assets → Bulk changes*: many codes at once, asked dry first."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

from fastapi import APIRouter, Response
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection

from app.console.pages import PAGE, check_sure, path, see, show, wrong
from app.console.session import ManagerForm, Reader, Visit
from app.domain.changes import service
from app.domain.changes.schemas import BulkChangeCreate
from app.domain.pools import service as pools
from app.platform.database import transaction
from app.platform.errors import DomainError
from app.schema.base import VoucherStatus
from app.web import pagination
from app.web.body import validated
from app.web.dependencies import Connection, Engine

router = APIRouter(prefix="/changes")
KEY = TypeAdapter(service.Key)
ACTIONS = (
    ("void", "Take out (void)"),
    ("release", "Make available again what was given and not used (release)"),
    ("reinstate", "Take a void back (reinstate)"),
    ("set_expiry", "Move the expiry"),
    ("move", "Move unused codes to another pool"),
)
PROOFS = (("", "All"), ("true", "Only proofs (test sends)"), ("false", "No proofs"))


@router.get("")
async def list_changes(visit: Reader, connection: Connection) -> Response:
    """Show the bulk changes, newest first, and the form for another."""
    return await _list(visit, connection)


@router.post("")
async def create(visit: ManagerForm, engine: Engine) -> Response:
    """Ask what a change would do: nothing is changed yet."""
    try:
        wanted = _wanted(visit)
        async with transaction(engine) as connection:
            change, _ = await service.begin(connection, visit.caller, wanted, idempotency_key=visit.sent_as())
    except DomainError as error:
        async with transaction(engine) as connection:
            return await _list(visit, connection, error)
    return see(path("changes", change.id))


@router.get("/{change_id}")
async def one(change_id: uuid.UUID, visit: Reader, connection: Connection) -> Response:
    """Show a change: how far it is, and what it came to."""
    return await _one(visit, connection, change_id)


@router.post("/{change_id}/apply")
async def apply(change_id: uuid.UUID, visit: ManagerForm, engine: Engine) -> Response:
    """Do what a dry run told."""
    try:
        check_sure(visit)
        async with transaction(engine) as connection:
            told = await service.get(connection, change_id)
            more: dict[str, object] = {}
            if told.action == "set_expiry":
                more = {"expires_at": told.expires_at}
            elif told.action == "move":
                more = {"to": told.to, "count": told.count}
            wanted = _checked({"action": told.action, "filter": told.filter, "reason": told.reason, **more})
            change, _ = await service.begin(
                connection, visit.caller, wanted, change_id=service.applied_id(change_id)
            )
    except DomainError as error:
        async with transaction(engine) as connection:
            return await _one(visit, connection, change_id, error)
    return see(path("changes", change.id), "change-begun")


@router.post("/{change_id}/cancel")
async def cancel(change_id: uuid.UUID, visit: ManagerForm, engine: Engine) -> Response:
    """End a change that is under way."""
    try:
        async with transaction(engine) as connection:
            await service.cancel(connection, visit.caller, change_id)
    except DomainError as error:
        async with transaction(engine) as connection:
            return await _one(visit, connection, change_id, error)
    return see(path("changes", change_id), "change-cancelled")


def _wanted(visit: Visit) -> BulkChangeCreate:
    """Return the change that was typed, to be told and not done."""
    chosen = {name: visit.given(name) for name in ("pool", "campaign_id", "import_id", "status")}
    test = {"true": True, "false": False}.get(visit.text("test"))
    filter_ = {name: value for name, value in {**chosen, "test": test}.items() if value is not None}
    action = visit.text("action")
    typed = {"action": action, "filter": filter_, "reason": visit.given("reason"), "dry_run": True}
    if action == "move":
        return _checked(typed | {"to": visit.given("to"), "count": visit.given("count")})
    if action != "set_expiry":
        return _checked(typed)
    at = visit.given("expires_at")
    if at is None and visit.text("never") != "yes":
        raise wrong("expires_at", "Say when the codes expire, or tick that they never do.")
    return _checked(typed | {"expires_at": at and _zoned(at)})


def _zoned(text: str) -> str:
    """Return a time that was typed, in UTC where it names no zone; what is no time as it is, for a model to refuse."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    is_day = len(text) == len("2027-01-31")
    return text if is_day or at.tzinfo is not None else at.replace(tzinfo=UTC).isoformat()


def _checked(typed: Mapping[str, object]) -> BulkChangeCreate:
    """Return what was typed as a change.

    Raises:
        InvalidRequestError: it is none; it says which field.
    """
    wanted: BulkChangeCreate = validated(BulkChangeCreate, typed)
    return wanted


async def _list(visit: Visit, connection: AsyncConnection, error: DomainError | None = None) -> Response:
    start = pagination.decode(visit.request.query_params.get("cursor"), KEY)
    rows = await service.list_page(connection, start, PAGE + 1)
    listed = pagination.page(rows, PAGE, lambda row: (row.created_at, row.id))
    states = [("", "Any state"), *((str(state), str(state).capitalize()) for state in VoucherStatus)]
    return show(
        visit,
        "changes.html",
        "",
        ("pool",),
        error=error,
        actions=ACTIONS,
        proofs=PROOFS,
        states=states,
        **listed,
    )


async def _one(
    visit: Visit, connection: AsyncConnection, change_id: uuid.UUID, error: DomainError | None = None
) -> Response:
    found = await service.get(connection, change_id)
    whole = not {"codes", "customer_ids"} & set(found.filter)  # nobody keeps these
    return show(
        visit,
        "change.html",
        "/console" + path("changes", change_id),
        error=error,
        found=found,
        ended=found.status in service.ENDED,
        action=dict(ACTIONS)[found.action],
        applied=await service.applied(connection, change_id),
        repeatable=whole,
        pools=await pools.named(connection, [found.to] if found.to else []),
    )
