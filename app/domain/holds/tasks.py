"""Jobs of holds."""

from procrastinate import JobContext

from app.domain.holds import queries, service
from app.platform.jobs import SWEEPS, engine_of, jobs
from app.platform.sweeping import each_due, found_by


@jobs.periodic(cron="* * * * *", periodic_id="holds")
@jobs.task(
    name="sweep_holds",
    aliases=["app.holds.tasks.sweep_holds"],
    queue=SWEEPS,
    queueing_lock="sweep_holds",
    pass_context=True,
)
async def sweep_holds(context: JobContext, timestamp: int) -> None:
    """Delete holds whose time is over, each minute."""
    del timestamp
    await each_due(engine_of(context), "holds", found_by(queries.EXPIRED_IN), service.sweep)
