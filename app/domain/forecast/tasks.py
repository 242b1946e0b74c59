"""The job that keeps the stock history."""

from procrastinate import JobContext

from app.domain.forecast import service
from app.platform.database import transaction
from app.platform.jobs import SWEEPS, engine_of, jobs


@jobs.periodic(cron="* * * * *", periodic_id="stock_history")
@jobs.task(
    name="keep_stock_history",
    aliases=["app.forecast.tasks.keep_stock_history"],
    queue=SWEEPS,
    queueing_lock="stock_history",
    pass_context=True,
)
async def keep_stock_history(context: JobContext, timestamp: int) -> None:
    """Write this hour's rows where they are missing, each minute: an hour may have begun while nothing ran."""
    del timestamp
    async with transaction(engine_of(context)) as connection:
        await service.keep_history(connection)
