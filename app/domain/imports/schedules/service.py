"""The rules of import schedules."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import cast

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.access.audit import service as audit
from app.domain.access.scopes import Caller
from app.domain.imports import beginning
from app.domain.imports import service as imports
from app.domain.imports.errors import UnreadableError
from app.domain.imports.merging import reading
from app.domain.imports.options import ImportOptions, Options
from app.domain.imports.schedules import queries
from app.domain.imports.schedules.clock import next_run
from app.domain.imports.schedules.errors import PoolHasSchedulesError, ScheduleNotFoundError
from app.domain.imports.schedules.schemas import ScheduleCreate, ScheduleRecord, ScheduleUpdate
from app.domain.imports.source_schemas import Source
from app.domain.imports.sources import checking
from app.domain.imports.stored import StoredOptions, StoredSource
from app.domain.pools import service as pools
from app.platform.clock import clock
from app.platform.database import transaction
from app.platform.errors import InvalidRequestError
from app.platform.metrics import SCHEDULES_GAVE_UP
from app.platform.settings import Settings
from app.platform.sweeping import past_a_bad_row, turn_is_over
from app.platform.versions import Expected, check, version
from app.schema.base import ImportStatus

log = structlog.get_logger()

RETRY_SECONDS = 60
"""Wait before a run that failed is tried again; it doubles each time, until the next regular run."""
AGAIN_LATER = timedelta(hours=1)
"""When a schedule is looked at again that cannot be judged now, as when its time zone is not known any more."""
OVERLAP = "The run before has not ended; this one was left out."


async def check_source(settings: Settings, source: Source | None) -> None:
    """Refuse a source that no run would fetch. It may wait for the resolver: hold no connection meanwhile.

    Raises:
        InvalidRequestError: it is such.
    """
    if source is not None:
        await checking.check_reach(settings, cast(StoredSource, source.model_dump(mode="json")))


async def create(
    connection: AsyncConnection, caller: Caller | None, settings: Settings, wanted: ScheduleCreate
) -> ScheduleRecord:
    """Store a schedule, and return it.

    Args:
        connection: of the transaction.
        caller: who makes it.
        settings: with the key that seals its source.
        wanted: what it is to do; `check_source` has found nothing against its source.

    Raises:
        InvalidRequestError: the cron expression is none, or never fires; or no run could follow the options.
    """
    shown, sealed = beginning.sealed_source(settings, wanted.source)
    schedule_id = await queries.add(
        connection,
        pool=wanted.pool,
        source=shown,
        sealed=sealed,
        options=_followed(_options(wanted)),
        cron=wanted.cron,
        timezone=wanted.timezone,
        active=wanted.active,
        next_run=_next(wanted.cron, wanted.timezone, active=wanted.active),
    )
    await audit.record(connection, caller, "schedule.created", pool=wanted.pool, schedule_id=str(schedule_id))
    return await get(connection, schedule_id)


async def get(connection: AsyncConnection, schedule_id: uuid.UUID) -> ScheduleRecord:
    """Return a schedule, with its last run.

    Raises:
        ScheduleNotFoundError: there is none of this id.
    """
    row = await queries.by_id(connection, schedule_id)
    if row is None:
        raise ScheduleNotFoundError(f"There is no import schedule {schedule_id}.")
    return row


async def list_page(
    connection: AsyncConnection, key: tuple[datetime, uuid.UUID] | None, limit: int
) -> list[ScheduleRecord]:
    """Return schedules, the oldest first."""
    return await queries.list_page(connection, key, limit)


async def update(
    connection: AsyncConnection,
    caller: Caller | None,
    settings: Settings,
    schedule_id: uuid.UUID,
    wanted: ScheduleUpdate,
    expected: Expected | None = None,
) -> ScheduleRecord:
    """Change a schedule; its next run follows. `check_source` has found nothing against a new source.

    Raises:
        InvalidRequestError: as `create`.
        ScheduleNotFoundError: there is none of this id.
        PreconditionFailedError: it is not as expected.
    """
    await queries.lock(connection, schedule_id)
    before = await get(connection, schedule_id)
    check(expected, version_of(before))
    values: dict[str, object] = wanted.model_dump(include={"cron", "timezone", "active"}, exclude_none=True)
    if wanted.source is not None:
        values["source"], values["sealed"] = beginning.sealed_source(settings, wanted.source)
    cron = before.cron if wanted.cron is None else wanted.cron
    timezone = before.timezone if wanted.timezone is None else wanted.timezone
    active = before.active if wanted.active is None else wanted.active
    if wanted.model_fields_set & {"options", *Options.model_fields}:
        values["options"] = _followed(_changed(before, wanted, timezone))
    values["next_run"] = _next(cron, timezone, active=active)
    clock_stays = (cron, timezone, active) == (before.cron, before.timezone, before.active)
    if clock_stays and before.next_run is not None:
        values["next_run"] = before.next_run  # a run that is due, or is tried again, is not lost
    values |= {"error": None, "failures": 0, "gave_up_at": None}
    await queries.change(connection, schedule_id, values)
    await audit.record(
        connection,
        caller,
        "schedule.changed",
        pool=before.pool,
        schedule_id=str(schedule_id),
        changed=sorted(wanted.model_fields_set),
    )
    return await get(connection, schedule_id)


def version_of(schedule: ScheduleRecord) -> str:
    """Return the version of a schedule: of what was set, not of its runs."""
    names = ("id", "pool", "source", "sealed_as", "options", "cron", "timezone", "active")
    return version(*(getattr(schedule, name) for name in names))


async def delete(
    connection: AsyncConnection,
    caller: Caller | None,
    schedule_id: uuid.UUID,
    expected: Expected | None = None,
) -> None:
    """Delete a schedule; what it imported stays.

    Raises:
        ScheduleNotFoundError: there is none of this id.
        PreconditionFailedError: it is not as expected.
    """
    await queries.lock(connection, schedule_id)
    schedule = await get(connection, schedule_id)
    check(expected, version_of(schedule))
    await queries.remove(connection, schedule_id)
    await audit.record(
        connection, caller, "schedule.deleted", pool=schedule.pool, schedule_id=str(schedule_id)
    )


async def sweep(engine: AsyncEngine, now: datetime) -> None:
    """Judge the runs that have ended, then begin those whose time has come, each in a transaction of its own.

    A schedule that cannot be judged is left alone, told and counted; the others go on.
    """
    for act in (judge_ended, begin_due):
        bad: set[uuid.UUID] = set()
        more = True
        while more:
            async with transaction(engine) as connection:
                more = await act(connection, now, bad) and not turn_is_over()


async def begin_due(connection: AsyncConnection, now: datetime, bad: set[uuid.UUID]) -> bool:
    """Begin the run of one schedule that is due; tell whether there was one.

    Those in `bad` are passed over; one that cannot be begun is added to them.

    The time of the next run is set in the same transaction, so a run begins once. Runs that were missed while
    nothing swept are made up for by this one.
    """
    due = await queries.lock_due(connection, now, bad)
    if due is None:
        return False
    async with past_a_bad_row(connection, "schedules"):
        await _begin(connection, due, now)
        return True
    bad.add(due.id)
    return True


async def _begin(connection: AsyncConnection, due: queries.DueSchedule, now: datetime) -> None:
    try:
        values: dict[str, object] = {"next_run": next_run(due.cron, due.timezone, now)}
        options = ImportOptions.model_validate(due.options)
    except ValueError as error:  # of this one alone: all others go on
        said = f"The schedule cannot run: {str(error).splitlines()[0]}."
        values = {"next_run": now + AGAIN_LATER, "error": said}
        if due.error != said:  # else it was told
            values |= _giving_up(due.id, due.pool, now)
        await queries.change(connection, due.id, values)
        return
    if await imports.under_way(connection, due.id):
        values["error"] = OVERLAP
    else:
        import_id = await beginning.from_sealed(connection, due.pool, due.source, due.sealed, options, due.id)
        await beginning.begin(connection, import_id, fetched=True)
    await queries.change(connection, due.id, values)


async def judge_ended(connection: AsyncConnection, now: datetime, bad: set[uuid.UUID]) -> bool:
    """Look at the end of one run; tell whether there was one. A run that failed is tried again within its period.

    One that failed with a question is not: who knows the file has to answer it. Nor is one that somebody cancelled.
    Those in `bad` are passed over; one that cannot be judged is added to them.
    """
    ended = await queries.lock_ended(connection, bad)
    if ended is None:
        return False
    async with past_a_bad_row(connection, "schedules"):
        await _judge(connection, ended, now)
        return True
    bad.add(ended.id)
    return True


async def _judge(connection: AsyncConnection, ended: queries.EndedRun, now: datetime) -> None:
    values: dict[str, object] = {"judged": ended.last_id, "failures": 0, "error": None, "gave_up_at": None}
    if ended.last_status is ImportStatus.FAILED:
        values["error"] = ended.last_error
        values["gave_up_at"] = ended.gave_up_at
        again = now + timedelta(seconds=RETRY_SECONDS * 2**ended.failures)
        by_a_person = ended.last_error == imports.CANCELLED
        if by_a_person:
            pass
        elif not ended.last_asked and ended.next_run is not None and again < ended.next_run:
            values |= {"next_run": again, "failures": ended.failures + 1}
        else:
            values |= _giving_up(ended.id, ended.pool, now)
    await queries.change(connection, ended.id, values)


def _giving_up(schedule_id: uuid.UUID, pool: str, now: datetime) -> dict[str, object]:
    """Return what a schedule notes that is not tried again before its next regular run; alerts tell it from there."""
    SCHEDULES_GAVE_UP.inc()
    log.error("an import schedule failed until its next regular run", id=str(schedule_id), pool=pool)
    return {"gave_up_at": now, "told_at": None}


async def delete_pool(
    connection: AsyncConnection, caller: Caller | None, pool: str, expected: Expected | None = None
) -> None:
    """Delete a pool and its vouchers, where no schedule would bring it back; see `pools.delete`.

    Raises:
        PoolHasSchedulesError: schedules import into it.
    """
    active = [str(schedule_id) for schedule_id in await queries.active_of(connection, pool)]
    if active:
        raise PoolHasSchedulesError(
            f"{len(active)} import schedules would bring pool {pool!r} back: delete or pause them first.",
            pool=pool,
            schedules=active[:100],
        )
    await pools.delete(connection, caller, pool, expected)


def _next(cron: str, timezone: str, *, active: bool) -> datetime | None:
    try:
        following = next_run(cron, timezone, clock.now())
    except ValueError as error:
        said = f"{error}."
        raise InvalidRequestError(said, [{"loc": ["body", "cron"], "msg": str(error)}]) from error
    return following if active else None


def _changed(before: ScheduleRecord, wanted: ScheduleUpdate, timezone: str) -> dict[str, object]:
    """Return the options after a change: days are read in the zone of the clock, unless the options name another one.

    Args:
        before: the schedule as it is.
        wanted: what is to be changed of it.
        timezone: that of its clock after the change.
    """
    if wanted.options is None:
        own = before.options.get("timezone")
        kept, zone = dict(before.options), timezone if own in {None, before.timezone} else str(own)
    else:
        kept, zone = _options(wanted.options), wanted.options.timezone or timezone
        kept["expires_at"] = wanted.options.expires_in(zone)
    single = wanted.model_fields_set & set(Options.model_fields)
    given = wanted.model_dump(mode="json", include=single)
    if "expires_at" in single:
        given["expires_at"] = wanted.expires_in(zone)
    options = kept | given | {"timezone": zone}
    return {name: value for name, value in options.items() if value is not None}


def _followed(options: dict[str, object]) -> dict[str, object]:
    """Return the options, as a run can follow them.

    Raises:
        InvalidRequestError: none can, whatever the file.
    """
    given = cast(StoredOptions, options)
    try:
        reading.check_holders(given.get("column"), [given.get(name) for name in reading.HOLDERS])
    except UnreadableError as error:
        raise InvalidRequestError(error.detail, [{"loc": ["body", "column"], "msg": error.detail}]) from error
    return options


def _options(options: Options) -> dict[str, object]:
    return options.model_dump(mode="json", include=set(Options.model_fields), exclude_none=True)


async def next_runs(connection: AsyncConnection, pools: Sequence[str]) -> dict[str, datetime]:
    """Return when the next run of a schedule of each of these pools is, where there is one."""
    return await queries.next_runs(connection, pools)
