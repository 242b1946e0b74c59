"""The job of an import."""

import asyncio
import errno
import uuid

import psycopg
import structlog
from procrastinate import JobContext, RetryStrategy

from app.domain.imports.merging import pipeline
from app.platform.jobs import jobs
from app.platform.settings import get_settings

log = structlog.get_logger()
ATTEMPTS = 8


@jobs.task(
    name="run_import",
    aliases=["app.imports.tasks.run_import"],
    retry=RetryStrategy(max_attempts=ATTEMPTS, exponential_wait=3),
    pass_context=True,
)
async def run_import(context: JobContext, import_id: str) -> None:
    """Run an import. A database that is away and a full disk are waited for; other faults end the import.

    What has brought down its worker again and again is given up, for all others would wait for it.
    """
    settings = get_settings()
    if context.job.attempts > ATTEMPTS:
        log.error("import given up: its worker died each time", id=import_id)
        await asyncio.to_thread(pipeline.give_up, settings, uuid.UUID(import_id))
        return
    try:
        await asyncio.to_thread(pipeline.run, settings, uuid.UUID(import_id))
    except Exception as error:
        if _may_pass(error) and context.job.attempts < ATTEMPTS:
            raise
        log.error(  # noqa: TRY400  (an exception's text could hold codes; its kind and place do not)
            "import failed", id=import_id, error=type(error).__name__, at=_place(error)
        )
        await asyncio.to_thread(pipeline.give_up, settings, uuid.UUID(import_id))


def _may_pass(error: Exception) -> bool:
    """Tell whether the same may work later: the database was away, or there was no room on a disk."""
    return isinstance(error, psycopg.OperationalError) or (
        isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
    )


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace is not None else ""
