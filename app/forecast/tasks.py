"""The job that keeps the stock history."""

from procrastinate import JobContext

from app.database import transaction
from app.forecast import service
from app.jobs import engine_of, jobs


@jobs.periodic(cron="* * * * *", periodic_id="stock_history")
@jobs.task(queueing_lock="stock_history", pass_context=True)
async def keep_stock_history(context: JobContext, timestamp: int) -> None:
    """Each minute: this hour's rows, where they are missing; an hour may have begun while nothing ran."""
    del timestamp
    async with transaction(engine_of(context)) as connection:
        await service.keep_history(connection)
