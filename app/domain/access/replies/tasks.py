"""Jobs of kept replies."""

from procrastinate import JobContext

from app.domain.access.replies import service
from app.platform.jobs import SWEEPS, engine_of, jobs
from app.platform.projects import everywhere


@jobs.periodic(cron="40 * * * *", periodic_id="forget_replies")
@jobs.task(name="forget_replies", queue=SWEEPS, queueing_lock="forget_replies", pass_context=True)
async def forget_replies(context: JobContext, timestamp: int) -> None:
    """Delete every hour the replies that were kept long enough."""
    del timestamp
    await service.forget(everywhere(engine_of(context)))
