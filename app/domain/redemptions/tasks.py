"""Jobs of redemptions: what could not be matched is tried again when something has changed."""

from procrastinate import JobContext
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.redemptions import queries, service
from app.platform.going_on import GoesOn
from app.platform.jobs import SWEEPS, engine_of, jobs
from app.platform.sweeping import Rounds, each_due

_known_by_now = Rounds(queries.PROJECTS, queries.KNOWN_BY_NOW)


@jobs.task(
    name="resolve_redemptions",
    aliases=["app.redemptions.tasks.resolve_redemptions"],
    lock="redemptions",
    pass_context=True,
)
async def resolve_redemptions(context: JobContext) -> None:
    """Redeem codes that were used before they were imported, as imports of an earlier release enqueue it.

    What is left undone, the sweep below does.
    """
    await service.resolve(engine_of(context))


@jobs.periodic(cron="* * * * *", periodic_id="redemptions")
@jobs.task(
    name="sweep_redemptions",
    aliases=["app.redemptions.tasks.sweep_redemptions"],
    queue=SWEEPS,
    queueing_lock="sweep_redemptions",
    pass_context=True,
)
async def sweep_redemptions(context: JobContext, timestamp: int) -> None:
    """Match unknown codes again each minute: an event may have come while its code was being imported."""
    del timestamp
    await each_due(engine_of(context), "redemptions", _known_by_now, _resolve)


async def _resolve(engine: AsyncEngine) -> None:
    await service.resolve(engine)


@jobs.task(
    name="replay_mapping",
    aliases=["app.redemptions.tasks.replay_mapping"],
    lock="redemptions",
    retry=GoesOn(),
    pass_context=True,
)
async def replay_mapping(context: JobContext) -> None:
    """Apply the redemption mapping to the events that are there. A changed mapping enqueues this, and nothing else."""
    await service.replay(engine_of(context))
