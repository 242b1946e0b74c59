"""Jobs of holds."""

from procrastinate import JobContext

from app.holds import service
from app.jobs import engine_of, jobs


@jobs.periodic(cron="* * * * *", periodic_id="holds")
@jobs.task(queueing_lock="sweep_holds", pass_context=True)
async def sweep_holds(context: JobContext, timestamp: int) -> None:
    """Each minute: holds whose time is over."""
    del timestamp
    await service.sweep(engine_of(context))
