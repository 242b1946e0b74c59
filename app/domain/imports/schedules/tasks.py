"""The clock of import schedules."""

from datetime import UTC, datetime

from procrastinate import JobContext

from app.domain.imports import tasks as imports
from app.domain.imports.schedules import service
from app.platform.database import transaction
from app.platform.jobs import engine_of, enqueue, jobs


@jobs.periodic(cron="* * * * * */5", periodic_id="schedules")
@jobs.task(
    name="begin_due_schedules",
    aliases=["app.schedules.tasks.begin_due_schedules"],
    queueing_lock="begin_due_schedules",
    pass_context=True,
)
async def begin_due_schedules(context: JobContext, timestamp: int) -> None:
    """Begin the imports of all schedules whose time has come, each in a transaction of its own."""
    del timestamp
    more = True
    while more:
        async with transaction(engine_of(context)) as connection:
            more, import_id = await service.begin_due(connection, datetime.now(UTC))
            if import_id is not None:
                await enqueue(connection, imports.run_import, import_id=str(import_id))
