"""What a database refuses because a project moves to another one, or has moved: seen here, wherever it happens.

A process that was refused did not hear yet where the project lives: it is to ask again at once.
"""

import psycopg
from sqlalchemy.exc import DBAPIError

MOVING = "57V01"
"""SQLSTATE of such a refusal, of the class of an operator's interventions."""


class Refusals:
    """The projects of which something was refused lately."""

    def __init__(self) -> None:
        self.count = 0
        """How many refusals there were."""
        self._projects: set[int] = set()

    def note(self, error: psycopg.Error) -> None:
        """Keep the project of an error, if it is such a refusal."""
        if error.diag.sqlstate == MOVING:
            self._projects.add(int(error.diag.message_detail or 0))
            self.count += 1

    def take(self) -> set[int]:
        """Return the projects since the last call."""
        projects, self._projects = self._projects, set()
        return projects


refusals = Refusals()
"""Of this process."""


def is_moving(error: BaseException) -> bool:
    """Return whether an error is such a refusal, or comes of one: the job queue has errors of its own."""
    cause: BaseException | None = error
    while cause is not None:
        driver = cause.orig if isinstance(cause, DBAPIError) else cause
        if isinstance(driver, psycopg.Error) and driver.diag.sqlstate == MOVING:
            return True
        cause = cause.__cause__
    return False
