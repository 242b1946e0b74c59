"""The jobs that look for what has to be told. Any number may run at once: rows that one has, others skip."""

from procrastinate import JobContext

from app.domain.alerts import service
from app.platform.database import transaction
from app.platform.jobs import SWEEPS, URGENT, engine_of, jobs


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
    async with transaction(engine_of(context)) as connection:
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
    async with transaction(engine_of(context)) as connection:
        await service.notify_expiring(connection)
    async with transaction(engine_of(context)) as connection:
        await service.notify_failed_schedules(connection)
