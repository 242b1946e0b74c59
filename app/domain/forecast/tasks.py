"""The job that keeps the stock history."""

from procrastinate import JobContext

from app.domain.forecast import service
from app.platform.database import transaction
from app.platform.jobs import SWEEPS, engine_of, jobs
from app.platform.projects import everywhere

MOST_AT_ONCE = 20
"""Transactions of one run; the next run goes on."""


class _Place:
    """Where the looks of this worker have come to: project and pool."""

    at = service.FIRST


@jobs.periodic(cron="* * * * *", periodic_id="stock_history")
@jobs.task(
    name="keep_stock_history",
    aliases=["app.forecast.tasks.keep_stock_history"],
    queue=SWEEPS,
    queueing_lock="stock_history",
    pass_context=True,
)
async def keep_stock_history(context: JobContext, timestamp: int) -> None:
    """Note this hour's stock where that is missing, each minute: an hour may have begun while nothing ran.

    It is done as the owner, for some thousand pools of whatever projects at a time: a transaction for each project
    would be the dearest of all that the clock starts. It waits for no lock.
    """
    del timestamp
    engine = everywhere(engine_of(context))
    for _ in range(MOST_AT_ONCE):
        async with transaction(engine) as connection:
            kept = await service.keep_history(connection, _Place.at)
        at_end = kept is None or kept.is_last
        _Place.at = service.FIRST if kept is None or at_end else (kept.project_id, kept.pool_id)
        if kept is None or not kept.due:
            break
