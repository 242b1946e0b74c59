"""The job of a project's deletion."""

from procrastinate import JobContext, RetryStrategy

from app.domain.projects import deletion
from app.domain.projects.service import DELETION
from app.platform.jobs import engine_of, jobs, settings_of

RETRY_SECONDS = 10
LINGER_SECONDS = 10.0
"""How long a request may go on writing that was let in as the last one, while its key was still honoured."""


@jobs.task(name=DELETION, retry=RetryStrategy(wait=RETRY_SECONDS), pass_context=True)
async def delete_project(context: JobContext, doomed: int) -> None:
    """Delete a project and all that belongs to it; what was broken off goes on, as often as it must."""
    seconds = settings_of(context).key_cache_seconds + LINGER_SECONDS
    await deletion.run(engine_of(context), doomed, seconds)
