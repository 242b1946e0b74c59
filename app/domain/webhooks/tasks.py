"""The jobs that tell webhooks, and clear the log of it. Any number may run at once."""

import uuid
from datetime import timedelta
from functools import partial

from procrastinate import JobContext

from app.domain.webhooks import queries, sending
from app.platform.going_on import GoesOn
from app.platform.jobs import SWEEPS, URGENT, engine_of, jobs, settings_of
from app.platform.projects import everywhere
from app.platform.sweeping import Rounds, each_due

KEPT = timedelta(days=7)
"""How long it is noted how messages went."""
SIDE_BY_SIDE = 8
"""Projects whose webhooks one job tells at the same time: one with slow receivers is one of them."""
TURN_SECONDS = sending.LOOKS_SECONDS + sending.ROUND_SECONDS + 4 * sending.LEASE_SECONDS
"""Longest turn of a project; its webhooks give up by themselves long before."""

_with_news = Rounds(queries.DUE, queries.NEWS_OR_PENDING, key="uuid", most=1000)


@jobs.periodic(cron="* * * * * *", periodic_id="webhooks")
@jobs.task(name="tell_webhooks", queue=URGENT, queueing_lock="webhooks", pass_context=True)
async def tell_webhooks(context: JobContext, timestamp: int) -> None:
    """Tell webhooks what happened, every second."""
    del timestamp
    turn = partial(sending.tell, settings=settings_of(context))
    await each_due(
        engine_of(context), "webhooks", _with_news, turn, side_by_side=SIDE_BY_SIDE, seconds=TURN_SECONDS
    )


@jobs.task(name="test_webhook", queue=URGENT, retry=GoesOn(), pass_context=True)
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
    """Clear the log of old messages of all projects, every hour."""
    del timestamp
    await queries.forget(everywhere(engine_of(context)), KEPT)
