"""The job that keeps the stock history."""

from procrastinate import JobContext
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.forecast import queries, service
from app.platform.database import transaction
from app.platform.jobs import SWEEPS, engine_of, jobs
from app.platform.sweeping import Rounds, each_due

_without_this_hour = Rounds(queries.POOLS, queries.WITHOUT_THIS_HOUR, most=5000)


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
    await each_due(engine_of(context), "stock history", _without_this_hour, _keep, side_by_side=1)


async def _keep(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        await service.keep_history(connection)
