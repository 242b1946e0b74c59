"""The clock of import schedules."""

from procrastinate import JobContext
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.imports.schedules import queries, service
from app.platform.clock import clock
from app.platform.jobs import SWEEPS, engine_of, jobs
from app.platform.sweeping import Rounds, each_due, either

_due = either(queries.due_in, Rounds(queries.ACTIVE, queries.ENDED, key="uuid"))


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
    await each_due(engine_of(context), "schedules", _due, _sweep)


async def _sweep(engine: AsyncEngine) -> None:
    await service.sweep(engine, clock.now())
