"""The jobs that tell webhooks, and clear the log of it. Any number may run at once."""

import uuid

from procrastinate import JobContext

from app.domain.webhooks import queries, sending
from app.platform.database import transaction
from app.platform.jobs import SWEEPS, URGENT, engine_of, jobs, settings_of

KEPT_DAYS = 7
"""How long it is noted how messages went."""


@jobs.periodic(cron="* * * * * *", periodic_id="webhooks")
@jobs.task(name="tell_webhooks", queue=URGENT, queueing_lock="webhooks", pass_context=True)
async def tell_webhooks(context: JobContext, timestamp: int) -> None:
    """Tell webhooks what happened, every second."""
    del timestamp
    await sending.tell(engine_of(context), settings_of(context))


@jobs.task(name="test_webhook", queue=URGENT, pass_context=True)
async def test_webhook(context: JobContext, delivery_id: str) -> None:
    """Send a test."""
    await sending.send_test(engine_of(context), settings_of(context), uuid.UUID(delivery_id))


@jobs.periodic(cron="40 * * * *", periodic_id="forget_webhook_deliveries")
@jobs.task(
    name="forget_webhook_deliveries",
    queue=SWEEPS,
    queueing_lock="forget_webhook_deliveries",
    pass_context=True,
)
async def forget_webhook_deliveries(context: JobContext, timestamp: int) -> None:
    """Clear the log of old messages, every hour."""
    del timestamp
    async with transaction(engine_of(context)) as connection:
        await queries.forget(connection, KEPT_DAYS)
