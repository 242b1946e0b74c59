"""Jobs of redemptions: what could not be matched is tried again when something has changed."""

from procrastinate import JobContext

from app.domain.redemptions import service
from app.platform.jobs import SWEEPS, engine_of, jobs


@jobs.task(
    name="resolve_redemptions",
    aliases=["app.redemptions.tasks.resolve_redemptions"],
    lock="redemptions",
    pass_context=True,
)
async def resolve_redemptions(context: JobContext) -> None:
    """Redeem codes that were used before they were imported. An import that has finished enqueues this."""
    await service.resolve(engine_of(context))


@jobs.periodic(cron="* * * * *", periodic_id="redemptions")
@jobs.task(
    name="sweep_redemptions",
    aliases=["app.redemptions.tasks.sweep_redemptions"],
    lock="redemptions",
    queue=SWEEPS,
    queueing_lock="sweep_redemptions",
    pass_context=True,
)
async def sweep_redemptions(context: JobContext, timestamp: int) -> None:
    """Match unknown codes again each minute: an event may have come while its code was being imported."""
    del timestamp
    await service.resolve(engine_of(context))


@jobs.task(
    name="replay_mapping",
    aliases=["app.redemptions.tasks.replay_mapping"],
    lock="redemptions",
    pass_context=True,
)
async def replay_mapping(context: JobContext) -> None:
    """Apply the redemption mapping to the events that are there. A changed mapping enqueues this."""
    await service.replay(engine_of(context))
