"""The job of a change of many vouchers."""

import uuid

import structlog
from procrastinate import JobContext, RetryStrategy
from sqlalchemy.exc import OperationalError

from app.domain.changes import service
from app.platform.jobs import engine_of, jobs

log = structlog.get_logger()
ATTEMPTS = 8


@jobs.task(
    name="run_bulk_change",
    retry=RetryStrategy(max_attempts=ATTEMPTS, exponential_wait=3),
    pass_context=True,
)
async def run_bulk_change(context: JobContext, change_id: str) -> None:
    """Do a change. Wait for a database that is away; let other faults end the change, not the worker."""
    engine = engine_of(context)
    if context.job.attempts > ATTEMPTS:
        log.error("bulk change given up: its worker died each time", id=change_id)
        await service.give_up(engine, uuid.UUID(change_id))
        return
    try:
        await service.run(engine, uuid.UUID(change_id))
    except Exception as error:
        if isinstance(error, OperationalError) and context.job.attempts < ATTEMPTS:
            raise
        log.error("bulk change failed", id=change_id, error=type(error).__name__)  # noqa: TRY400  (no code in logs)
        await service.give_up(engine, uuid.UUID(change_id))
