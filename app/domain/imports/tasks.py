"""Jobs of imports."""

import asyncio
import uuid
from contextlib import suppress

import psycopg
import structlog
from procrastinate import JobContext, RetryStrategy
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.imports import beginning, queries
from app.domain.imports.merging import pipeline
from app.platform import disk
from app.platform.database import is_conflict, transaction
from app.platform.jobs import SWEEPS, engine_of, jobs, project_of_job, settings_of
from app.platform.settings import Settings
from app.platform.sweeping import each_due, found_by

log = structlog.get_logger()
ATTEMPTS = 8
LOOK_SECONDS = 10.0
"""Between two looks whether a disk has room again."""

GIVEN_UP = "A fault of the service, and logged."
DISK_FULL = "There was no room on a disk, of the service or of its database."
GOES_ON = "The import goes on by itself when there is."


@jobs.task(
    name="run_import",
    aliases=["app.imports.tasks.run_import"],
    retry=RetryStrategy(max_attempts=ATTEMPTS, exponential_wait=3),
    pass_context=True,
)
async def run_import(context: JobContext, import_id: str) -> None:
    """Run an import. A database that is away, a full disk or a long merge is waited for; other faults end the import.

    What has brought down its worker again and again is given up, for all others would wait for it. A disk that is full
    on this machine is waited for without an end, since nothing else could go on either.
    """
    settings, project = settings_of(context), project_of_job(context)
    of = uuid.UUID(import_id)
    if context.job.attempts > ATTEMPTS:
        log.error("import given up: its worker died each time", id=import_id)
        await asyncio.to_thread(pipeline.give_up, settings, project, of, GIVEN_UP)
        return
    try:
        await asyncio.to_thread(pipeline.run, settings, project, of)
    except Exception as error:
        full = isinstance(error, psycopg.errors.DiskFull) or disk.is_full(error)
        passes = full or isinstance(error, psycopg.OperationalError) or is_conflict(error)
        if passes and context.job.attempts < ATTEMPTS:
            if full:
                await _await_room(settings, project, of)
            raise
        log.error(  # noqa: TRY400  (an exception's text could hold codes; its kind and place do not)
            "import failed", id=import_id, error=type(error).__name__, at=_place(error)
        )
        await asyncio.to_thread(pipeline.give_up, settings, project, of, DISK_FULL if full else GIVEN_UP)


@jobs.periodic(cron="* * * * *", periodic_id="imports")
@jobs.task(name="take_up_imports", queue=SWEEPS, queueing_lock="take_up_imports", pass_context=True)
async def take_up_imports(context: JobContext, timestamp: int) -> None:
    """Go on with imports that were left behind: those of a command line that was killed have no job."""
    del timestamp
    await each_due(engine_of(context), "imports", found_by(queries.LEFT_IN), _take_up)


async def _take_up(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        for import_id, fetched in await queries.left_behind(connection):
            log.warning("an import was left behind, and goes on", id=str(import_id))
            await beginning.begin(connection, import_id, fetched=fetched)


async def _await_room(settings: Settings, project: int, import_id: uuid.UUID) -> None:
    """Tell whoever looks at the import what it waits for, and wait while this machine has no room."""
    with suppress(psycopg.Error, OSError):  # it may be the database that has none
        await asyncio.to_thread(pipeline.tell_wait, settings, project, import_id, f"{DISK_FULL} {GOES_ON}")
    while not await asyncio.to_thread(_has_room, settings):  # noqa: ASYNC110  (a disk tells nobody)
        await asyncio.sleep(LOOK_SECONDS)


def _has_room(settings: Settings) -> bool:
    try:
        disk.check_disks(settings.home)
    except disk.NoRoomError:
        return False
    return True


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace is not None else ""
