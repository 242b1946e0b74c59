"""The jobs that look for what has to be told. Any number may run at once: rows that one has, others skip."""

from procrastinate import JobContext
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.alerts import queries, service
from app.platform.database import transaction
from app.platform.jobs import SWEEPS, URGENT, engine_of, jobs
from app.platform.sweeping import Rounds, each_due, either, found_by

_crossed = either(found_by(queries.UNTOLD_IN), Rounds(queries.ALERTS, queries.CROSSED))
_expiring = Rounds(queries.EXPIRING_ALERTS, queries.EXPIRING_DUE, most=10_000)


@jobs.periodic(cron="* * * * * *", periodic_id="alerts")
@jobs.task(
    name="tell_fallen",
    aliases=["app.alerts.tasks.tell_fallen"],
    queue=URGENT,
    priority=10,
    queueing_lock="alerts",
    pass_context=True,
)
async def notify_crossed(context: JobContext, timestamp: int) -> None:
    """Tell of thresholds that have fallen, every second."""
    del timestamp
    await each_due(engine_of(context), "alerts", _crossed, _tell_crossed)


async def _tell_crossed(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        await service.notify_crossed(connection)


@jobs.periodic(cron="* * * * *", periodic_id="expiring")
@jobs.task(
    name="tell_expiring",
    aliases=["app.alerts.tasks.tell_expiring"],
    queue=SWEEPS,
    queueing_lock="expiring",
    pass_context=True,
)
async def notify_expiring(context: JobContext, timestamp: int) -> None:
    """Tell of codes that expire soon and of import schedules that gave up, every minute."""
    del timestamp
    await each_due(engine_of(context), "expiring", _expiring, _tell_expiring)
    await each_due(engine_of(context), "failed schedules", found_by(queries.FAILED_IN), _tell_failed)


async def _tell_expiring(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        await service.notify_expiring(connection)


async def _tell_failed(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        await service.notify_failed_schedules(connection)
