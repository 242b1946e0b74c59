"""*Data & Assets → Vouchers*: the pools, and one pool."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection

from app.console.once import once
from app.console.pages import (
    PAGE,
    check_sure,
    end_of_day,
    path,
    renamed,
    see,
    seen_version,
    show,
    version_shown,
    whole,
    wrong,
)
from app.console.pages import model as checked
from app.console.search import CodeSearch, PoolSearch, asked, read
from app.console.session import Manager, ManagerForm, Reader, Visit
from app.domain.access.scopes import OF_CODES
from app.domain.alerts import service as alerts
from app.domain.assignments import service as assignments
from app.domain.forecast import service as forecast
from app.domain.holds import service as holds
from app.domain.holds.schemas import HoldCreate, HoldRecord, HoldUpdate
from app.domain.imports import service as imports
from app.domain.imports.schedules import service as schedules
from app.domain.pools import service
from app.domain.pools.schemas import PoolCreate, PoolUpdate, Sort
from app.domain.vouchers import service as vouchers
from app.domain.vouchers.errors import VoucherNotFoundError
from app.domain.vouchers.schemas import VoucherRecord
from app.platform.database import run_act, transaction
from app.platform.errors import DomainError, InvalidRequestError
from app.schema.base import VoucherStatus
from app.schema.names import nfc
from app.web import exports, pagination
from app.web.body import validated
from app.web.dependencies import Connection, Engine, held_by
from app.web.guard import permit
from app.web.guessed_codes import GuessedCodes
from app.web.parameters import PoolPath
from app.web.reading import Source
from app.web.snippets import snippets

router = APIRouter(prefix="/pools")
KEY = TypeAdapter(tuple[str, str | int])
SORTS: dict[Sort, str] = {
    "name": "Name, A to Z",
    "name_desc": "Name, Z to A",
    "newest": "Newest first",
    "oldest": "Oldest first",
}
VOUCHER_KEY = TypeAdapter(vouchers.Key)
HISTORY_HOURS = 168
MOST_HOLDS = 500
"""Holds that the page of a pool shows."""


@router.get("")
async def list_pools(visit: Reader, connection: Connection) -> Response:
    """Show the pools with their counts; where a code is looked for, lead to its page."""
    typed = visit.given("code")
    if typed is None or visit.given("cursor") is not None:  # the list goes on, whatever was looked for before
        return await _list(visit, connection)
    permit(visit.caller, *OF_CODES)
    try:
        code = checked(CodeSearch, {"code": typed}).code
        await vouchers.get(connection, code)
    except DomainError as error:
        return await _list(visit, connection, error=error)
    return see(path("vouchers", code))


@router.post("")
async def create(visit: ManagerForm, engine: Engine) -> Response:
    """Make a pool."""
    try:
        typed = {name: visit.given(name) for name in ("description", "like")}
        wanted = checked(PoolCreate, {"name": visit.text("name"), **typed})
        async with transaction(engine) as connection:
            await once(
                connection,
                visit,
                lambda: alerts.create_pool(connection, visit.caller, wanted),
                lambda pool: pool.name,
            )
    except DomainError as error:
        async with transaction(engine) as connection:
            return await _list(visit, connection, error=error)
    return see(path("pools", wanted.name), "pool-made")


@router.get("/{pool}")
async def one(pool: PoolPath, visit: Reader, connection: Connection) -> Response:
    """Show one pool: counts, history, vouchers, holds."""
    return await _one(visit, connection, pool)


@router.post("/{pool}/change")
async def change(pool: PoolPath, visit: ManagerForm, engine: Engine) -> Response:
    """Change the description."""

    def typed() -> PoolUpdate:
        return checked(PoolUpdate, {"description": visit.text("description")})

    return await _changed(visit, engine, pool, typed)


@router.post("/{pool}/rule")
async def set_rule(pool: PoolPath, visit: ManagerForm, engine: Engine) -> Response:
    """Say how many codes a customer gets; nothing typed: as many as are asked for."""

    def typed() -> PoolUpdate:
        count, days = (whole(visit.given(name)) for name in ("count_each", "days"))
        rule = None if count is None else {"count": count, "days": days, "then": visit.text("then")}
        try:
            return validated(PoolUpdate, {"per_customer": rule})
        except InvalidRequestError as error:  # the page has another field that is called a count
            raise renamed(error, "count", "count_each") from error

    return await _changed(visit, engine, pool, typed)


@router.post("/{pool}/expiry")
async def set_expiry(pool: PoolPath, visit: ManagerForm, engine: Engine) -> Response:
    """Say how many days a code holds for who gets it; nothing typed: as long as it holds by itself."""

    def typed() -> PoolUpdate:
        return validated(PoolUpdate, {"expires_after_days": whole(visit.given("expires_after_days"))})

    return await _changed(visit, engine, pool, typed)


async def _changed(visit: Visit, engine: Engine, pool: str, typed: Callable[[], PoolUpdate]) -> Response:
    """Change a pool as was typed; where that is wrong, show its page with what is."""
    try:
        wanted = typed()
        async with transaction(engine) as connection:
            await once(
                connection,
                visit,
                lambda: service.change(connection, visit.caller, pool, wanted, seen_version(visit)),
                lambda changed: changed.name,
            )
    except DomainError as error:
        async with transaction(engine) as connection:
            return await _one(visit, connection, pool, error=error)
    return see(path("pools", pool), "pool-changed")


@router.get("/{pool}/delete")
async def ask_delete(pool: PoolPath, visit: Manager, connection: Connection) -> Response:
    """Ask before a pool is deleted."""
    return await _ask_delete(visit, connection, pool)


@router.post("/{pool}/delete")
async def delete(pool: PoolPath, visit: ManagerForm, engine: Engine) -> Response:
    """Delete a pool."""
    try:
        await run_act(engine, schedules.delete_pool, visit.caller, pool)
    except DomainError as error:
        async with transaction(engine) as connection:
            return await _ask_delete(visit, connection, pool, error)
    return see("/pools", "pool-deleted")


@router.post("/{pool}/holds")
async def hold(pool: PoolPath, visit: ManagerForm, engine: Engine) -> Response:
    """Hold codes for a campaign, for good or until the end of a day."""
    typed = {name: visit.given(name) for name in ("campaign_id", "count")}
    try:
        wanted = checked(HoldCreate, {**typed, "expires_at": end_of_day(visit.given("expires_at"))})
        async with transaction(engine) as connection:
            await once(
                connection,
                visit,
                lambda: holds.create(
                    connection, visit.caller, pool, wanted.campaign_id, wanted.count, wanted.expires_at
                ),
                lambda made: str(made.id),
            )
    except DomainError as error:
        async with transaction(engine) as connection:
            return await _one(visit, connection, pool, error=error)
    return see(path("pools", pool), "hold-made")


@router.post("/{pool}/holds/{hold_id}/change")
async def change_hold(pool: PoolPath, hold_id: UUID, visit: ManagerForm, engine: Engine) -> Response:
    """Hold more or fewer codes, or until another day, where the hold still is as the form has it."""
    try:
        async with transaction(engine) as connection:
            before = await holds.get(connection, pool, hold_id)
            wanted = _changed_hold(visit, before)
            await once(
                connection,
                visit,
                lambda: holds.change(connection, visit.caller, pool, hold_id, wanted, seen_version(visit)),
                lambda _: str(hold_id),
            )
    except DomainError as error:
        if isinstance(error, InvalidRequestError):
            error = renamed(renamed(error, "count", "held_count"), "expires_at", "held_until")
        async with transaction(engine) as connection:
            return await _one(visit, connection, pool, error=error, changed_hold=hold_id)
    return see(path("pools", pool), "hold-changed")


def _changed_hold(visit: Visit, before: HoldRecord) -> HoldUpdate:
    """Return what was typed of a hold; a day that stands there as it was keeps its hour."""
    values: dict[str, object] = {"count": whole(visit.given("held_count") or "")}
    until = visit.given("held_until")
    if before.expires_at is None or until != before.expires_at.date().isoformat():
        values["expires_at"] = end_of_day(until)
    return validated(HoldUpdate, values)


@router.post("/{pool}/holds/{hold_id}/delete")
async def delete_hold(pool: PoolPath, hold_id: UUID, visit: ManagerForm, engine: Engine) -> Response:
    """Give back what a hold keeps."""
    try:
        check_sure(visit, f"sure-{hold_id}")
        async with transaction(engine) as connection:
            await once(
                connection,
                visit,
                lambda: holds.delete(connection, visit.caller, pool, hold_id),
                lambda _: str(hold_id),
            )
    except DomainError as error:
        async with transaction(engine) as connection:
            return await _one(visit, connection, pool, error=error)
    return see(path("pools", pool), "hold-deleted")


@router.post("/{pool}/export")
async def export(pool: PoolPath, visit: ManagerForm, connection: Connection, engine: Engine) -> Response:
    """Send all vouchers of the pool as CSV."""
    query = await vouchers.exported(connection, visit.caller, pool, vouchers.Filter())
    return exports.response(Source(engine), query, vouchers.EXPORTED, exports.Format.CSV, "vouchers")


@router.post("/{pool}/assignments/export")
async def export_assignments(
    pool: PoolPath, visit: ManagerForm, connection: Connection, engine: Engine
) -> Response:
    """Send to whom codes of the pool were given as CSV: all, or what the search of its page lets pass."""
    wanted = read(asked(visit.typed)).of_ledger(pool)
    if wanted is None:
        raise wrong("status", "Assignments are not exported by a code, nor by this state.")
    made = await assignments.exported(connection, engine, visit.caller, wanted, changes=False)
    columns = assignments.LEDGER_COLUMNS
    return exports.response(Source(engine), made.query, columns, exports.Format.CSV, "assignments")


async def _list(visit: Visit, connection: AsyncConnection, error: DomainError | None = None) -> Response:
    query = visit.request.query_params
    search = nfc(query.get("search", "").strip())
    sort: Sort = next((name for name in SORTS if name == query.get("sort")), "name")
    start = pagination.decode(query.get("cursor"), KEY)
    after = start[1] if start is not None and start[0] == sort else None
    found = await service.search(connection, search, after, PAGE + 1, sort)
    listed = pagination.page(found, PAGE, lambda pool: (sort, service.sort_key(pool, sort)))
    ids, names = [pool.id for pool in found], [pool.name for pool in found]
    return show(
        visit,
        "pools.html",
        "",
        ("code",),
        error=error,
        search=search,
        sort=sort,
        sorts=SORTS.items(),
        last=await imports.last_of_pools(connection, ids),
        next_runs=await schedules.next_runs(connection, names),
        alerts=await alerts.states(connection, ids),
        run_out=await forecast.run_out(connection, found),
        **listed,
    )


async def _one(
    visit: Visit,
    connection: AsyncConnection,
    name: str,
    error: DomainError | None = None,
    changed_hold: UUID | None = None,
) -> Response:
    """Show a pool; of the hold that was to be changed, what was typed."""
    pool = await service.get(connection, name)
    params = visit.request.query_params
    typed = asked(params)
    wanted: PoolSearch | None = None
    items: Sequence[VoucherRecord] = []
    next_cursor = None
    try:
        wanted = read(typed)
        if wanted.code is not None:
            items = await _by_code(visit, connection, name, wanted.code)
        else:
            start = pagination.decode(params.get("cursor"), VOUCHER_KEY)
            found = await vouchers.find(connection, name, wanted.of_vouchers(), start, PAGE)
            items = found.rows
            next_cursor = None if found.go_on is None else pagination.encode(found.go_on)
    except InvalidRequestError as mistyped:
        error = error or mistyped
    held = await holds.of_pool(connection, name, None, MOST_HOLDS + 1)
    history = list(await forecast.history(connection, name, None, HISTORY_HOURS))[::-1]
    return show(
        visit,
        "pool.html",
        "/console" + path("pools", name),
        PoolSearch.model_fields,
        error=error,
        pool=pool,
        version=version_shown(visit, None if changed_hold else error, service.version_of(pool)),
        hold_versions={
            hold.id: version_shown(visit, error if hold.id == changed_hold else None, holds.version_of(hold))
            for hold in held.items
        },
        changed_hold=changed_hold,
        states=list(VoucherStatus),
        asked=typed,
        exportable=wanted is not None and wanted.of_ledger(name) is not None,
        history=history,
        chart=_chart([row.available for row in history]),
        forecast=await forecast.forecast(connection, name),
        holds=held,
        most_holds=MOST_HOLDS,
        imports=await imports.list_page(connection, name, None, None, 3),
        items=items,
        next_cursor=next_cursor,
        snippets=snippets(
            visit.settings.public_url or str(visit.request.base_url).removesuffix("/console/"), name
        ),
    )


async def _by_code(visit: Visit, connection: AsyncConnection, pool: str, code: str) -> list[VoucherRecord]:
    with suppress(VoucherNotFoundError), held_by(visit.request.app, GuessedCodes).of(visit.caller):
        found = await vouchers.get(connection, code)
        return [found] if found.pool == pool else []
    return []


def _chart(values: list[int]) -> str:
    """Return the values as the path of an area in a box of 100 to 40."""
    if len(values) < 2:  # noqa: PLR2004  (a line has two ends)
        return ""
    top = max(*values, 1)
    points = [
        f"{100 * place / (len(values) - 1):.2f},{38 - 36 * value / top:.2f}"
        for place, value in enumerate(values)
    ]
    return f"M0,40 L{' L'.join(points)} L100,40 Z"


async def _ask_delete(
    visit: Visit, connection: AsyncConnection, pool: str, error: DomainError | None = None
) -> Response:
    total = (await service.get(connection, pool)).counts.total
    return show(
        visit,
        "confirm.html",
        error=error,
        title=f"Delete {pool}",
        question=f"This deletes the pool and its {total:,} vouchers. It cannot be undone.",
        note="A pool of which a code was ever handed out is kept, and is not deleted.",
        button="Delete pool",
        back="/console" + path("pools", pool),
    )
