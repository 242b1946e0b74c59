"""Jobs of customers."""

from procrastinate import JobContext

from app.domain.customers import service
from app.platform.jobs import SWEEPS, engine_of, jobs
from app.platform.projects import everywhere


@jobs.periodic(cron="40 * * * *", periodic_id="forget_erased")
@jobs.task(name="forget_erased", queue=SWEEPS, queueing_lock="forget_erased", pass_context=True)
async def forget_erased(context: JobContext, timestamp: int) -> None:
    """Each hour: marks of what was erased longer ago than anything is tried again, in all projects."""
    del timestamp
    await service.forget_marks(everywhere(engine_of(context)))
