"""The job of a project's deletion."""

from procrastinate import JobContext, RetryStrategy

from app.domain.projects import deletion
from app.domain.projects.service import DELETION
from app.platform.jobs import engine_of, jobs, settings_of

RETRY_SECONDS = 10


@jobs.task(name=DELETION, retry=RetryStrategy(wait=RETRY_SECONDS), pass_context=True)
async def delete_project(context: JobContext, doomed: int) -> None:
    """Delete a project and all that belongs to it; what was broken off goes on, as often as it must."""
    await deletion.run(engine_of(context), doomed, settings_of(context).key_cache_seconds)
