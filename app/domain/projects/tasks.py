"""Jobs of projects: their deletion, and what the databases that they live in are told."""

from procrastinate import JobContext, RetryStrategy

from app.domain.access.audit.service import CARRY
from app.domain.projects import deletion, elsewhere
from app.domain.projects.service import DELETION, TELL, settled_seconds
from app.platform.jobs import engine_of, jobs, settings_of

RETRY_SECONDS = 10


@jobs.task(name=DELETION, retry=RetryStrategy(wait=RETRY_SECONDS), pass_context=True)
async def delete_project(context: JobContext, doomed: int) -> None:
    """Delete a project and all that belongs to it; what was broken off goes on, as often as it must."""
    settings, engine = settings_of(context), engine_of(context)
    if not await elsewhere.delete(engine, settings, doomed):
        await deletion.run(engine, doomed, settled_seconds(settings))


@jobs.task(name=TELL, retry=RetryStrategy(wait=RETRY_SECONDS), pass_context=True)
async def tell_project(context: JobContext, of: int) -> None:
    """Tell the database that a project lives in what the control database says of it."""
    await elsewhere.tell(engine_of(context), settings_of(context), of)


@jobs.task(name=CARRY, retry=RetryStrategy(wait=RETRY_SECONDS), pass_context=True)
async def carry_audit(context: JobContext, of: int, entry: dict[str, object]) -> None:
    """Bring an entry of the audit to the database that its project lives in."""
    await elsewhere.carry_audit(engine_of(context), settings_of(context), of, entry)
