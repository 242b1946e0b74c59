"""Jobs of the inventory: what happens to a voucher with time."""

import structlog
from procrastinate import JobContext

from app.domain.vouchers import service
from app.platform.jobs import SWEEPS, engine_of, jobs

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
    lapsed, expired = await service.sweep(engine_of(context))
    came = await service.bring_in(engine_of(context))
    if lapsed or expired or came:
        log.info("vouchers swept", lapsed=lapsed, expired=expired, came=came)
