"""What becomes of a job that was broken off, where no sweep does the same once more."""

from procrastinate import BaseRetryStrategy, RetryDecision
from procrastinate.jobs import Job

from app.platform.database import ConflictError
from app.platform.sweeping import is_of_the_row

PAUSE_SECONDS = 10
"""Before another try, where the database did not let the job go on."""


class GoesOn(BaseRetryStrategy):
    """Begins a job again, as often as it must: its task may be run twice, and passes rows that cannot be judged.

    At once where its worker is told to stop, for another one to go on; after a pause where the database is away or
    refuses for a moment, or others were faster all the while. Any other fault would come again, and ends the job.
    """

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """Return when to run the job again; None where it is given up."""
        del job
        if not isinstance(exception, Exception):  # it was cancelled
            return RetryDecision()
        if is_of_the_row(exception) and not isinstance(exception, ConflictError):
            return None
        return RetryDecision(retry_in={"seconds": PAUSE_SECONDS})
