"""The jobs that send messages and clear the log of them."""

import uuid
from datetime import timedelta

import structlog
from procrastinate import BaseRetryStrategy, JobContext, RetryDecision
from procrastinate.jobs import Job

from app.domain.alerts.deliveries import queries, sending
from app.platform.jobs import SWEEPS, URGENT, engine_of, jobs, settings_of
from app.platform.projects import everywhere

log = structlog.get_logger()

KEPT = timedelta(days=90)
"""How long the log of messages is kept."""

FAULT_SECONDS, MAX_FAULTS = 60, 24 * 60
"""Wait after a fault of the service or its database, and how often."""


class Backoff(BaseRetryStrategy):
    """Tries again when the failed try says so."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """Return when to run the job again."""
        if isinstance(exception, sending.NotDeliveredError):
            return RetryDecision(retry_in={"milliseconds": int(exception.again_in * 1000)})
        if not isinstance(exception, Exception):  # the worker is told to stop: another one goes on
            return RetryDecision()
        log.error("fault in a delivery", job=job.id, exc_info=exception)
        return RetryDecision(retry_in={"seconds": FAULT_SECONDS}) if job.attempts < MAX_FAULTS else None


@jobs.task(
    name="deliver", aliases=["app.deliveries.tasks.deliver"], queue=URGENT, retry=Backoff(), pass_context=True
)
async def deliver(context: JobContext, delivery_id: str) -> None:
    """Send a message until it arrives or its tries are used up."""
    await sending.deliver(engine_of(context), settings_of(context), uuid.UUID(delivery_id))


@jobs.periodic(cron="30 * * * *", periodic_id="forget_deliveries")
@jobs.task(
    name="forget_deliveries",
    aliases=["app.deliveries.tasks.forget_deliveries"],
    queue=SWEEPS,
    queueing_lock="forget_deliveries",
    pass_context=True,
)
async def forget_deliveries(context: JobContext, timestamp: int) -> None:
    """Clear the log of old messages of all projects, every hour."""
    del timestamp
    await queries.forget(everywhere(engine_of(context)), KEPT)
