"""Jobs of the inventory: what happens to a voucher with time."""

import structlog
from procrastinate import JobContext

from app.jobs import engine_of, jobs
from app.vouchers import service

log = structlog.get_logger()


@jobs.periodic(cron="* * * * * */5", periodic_id="vouchers")
@jobs.task(queueing_lock="sweep_vouchers", pass_context=True)
async def sweep_vouchers(context: JobContext, timestamp: int) -> None:
    """Each five seconds, and as soon as a worker starts: leases that have lapsed, codes that have expired."""
    del timestamp
    lapsed, expired = await service.sweep(engine_of(context))
    if lapsed or expired:
        log.info("vouchers swept", lapsed=lapsed, expired=expired)
