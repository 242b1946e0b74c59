"""The job that keeps the stock history."""

from procrastinate import JobContext

from app.database import transaction
from app.forecast import service
from app.jobs import engine_of, jobs


@jobs.periodic(cron="* * * * *", periodic_id="stock_history")
@jobs.task(queueing_lock="stock_history", pass_context=True)
async def keep_stock_history(context: JobContext, timestamp: int) -> None:
    """Look each minute whether this hour's rows are there: an hour that began while nothing ran has them all the same."""
    del timestamp
    async with transaction(engine_of(context)) as connection:
        await service.keep_history(connection)
