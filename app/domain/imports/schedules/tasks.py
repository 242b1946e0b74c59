"""The clock of import schedules."""

from procrastinate import JobContext

from app.domain.imports.schedules import service
from app.platform.clock import clock
from app.platform.jobs import SWEEPS, engine_of, jobs


@jobs.periodic(cron="* * * * * */5", periodic_id="schedules")
@jobs.task(
    name="begin_due_schedules",
    aliases=["app.schedules.tasks.begin_due_schedules"],
    queue=SWEEPS,
    queueing_lock="begin_due_schedules",
    pass_context=True,
)
async def begin_due_schedules(context: JobContext, timestamp: int) -> None:
    """Judge the runs that have ended, then begin those whose time has come, each in a transaction of its own."""
    del timestamp
    await service.sweep(engine_of(context), clock.now())
