"""Jobs of the inventory: what happens to a voucher with time."""

import structlog
from procrastinate import JobContext
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.vouchers import queries, service
from app.platform.jobs import SWEEPS, engine_of, jobs
from app.platform.sweeping import each_due, found_by

log = structlog.get_logger()


@jobs.periodic(cron="* * * * * */5", periodic_id="vouchers")
@jobs.task(
    name="sweep_vouchers",
    aliases=["app.vouchers.tasks.sweep_vouchers"],
    queue=SWEEPS,
    queueing_lock="sweep_vouchers",
    pass_context=True,
)
async def sweep_vouchers(context: JobContext, timestamp: int) -> None:
    """Take back lapsed leases, take out what has expired and bring in what comes, every five seconds and at a start."""
    del timestamp
    await each_due(engine_of(context), "vouchers", found_by(queries.DUE_IN), _sweep)


async def _sweep(engine: AsyncEngine) -> None:
    lapsed, expired = await service.sweep(engine)
    came = await service.bring_in(engine)
    if lapsed or expired or came:
        log.info("vouchers swept", lapsed=lapsed, expired=expired, came=came)
