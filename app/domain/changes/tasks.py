"""Jobs of changes of many vouchers."""

import uuid

import structlog
from procrastinate import JobContext, RetryStrategy
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.changes import queries, service
from app.platform.database import is_conflict, transaction
from app.platform.jobs import SWEEPS, engine_of, jobs
from app.platform.sweeping import each_due, found_by, is_of_the_row

log = structlog.get_logger()
ATTEMPTS = 8


@jobs.task(
    name="run_bulk_change",
    retry=RetryStrategy(max_attempts=ATTEMPTS, exponential_wait=3),
    pass_context=True,
)
async def run_bulk_change(context: JobContext, change_id: str) -> None:
    """Do a change. Wait for a database that is away, and for who is being merged; let other faults end the change."""
    engine = engine_of(context)
    if context.job.attempts > ATTEMPTS:
        log.error("bulk change given up: its worker died each time", id=change_id)
        await service.give_up(engine, uuid.UUID(change_id))
        return
    try:
        await service.run(engine, uuid.UUID(change_id))
    except Exception as error:
        if (is_conflict(error) or not is_of_the_row(error)) and context.job.attempts < ATTEMPTS:
            raise
        log.error("bulk change failed", id=change_id, error=type(error).__name__)  # noqa: TRY400  (no code in logs)
        await service.give_up(engine, uuid.UUID(change_id))


@jobs.periodic(cron="* * * * *", periodic_id="bulk_changes")
@jobs.task(name="take_up_bulk_changes", queue=SWEEPS, queueing_lock="take_up_bulk_changes", pass_context=True)
async def take_up_bulk_changes(context: JobContext, timestamp: int) -> None:
    """Go on with changes that have no job, for a command line does its own: it may have been killed."""
    del timestamp
    await each_due(engine_of(context), "bulk changes", found_by(queries.LEFT_IN), _take_up)


async def _take_up(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        for change_id in await queries.left_behind(connection):
            await service.enqueue_run(connection, change_id)
