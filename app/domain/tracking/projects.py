"""Projects, as the paths of trackers name them."""

from app.domain.access.scopes import Caller
from app.domain.projects.errors import ProjectNotFoundError
from app.schema.names import nfc


def check_project(caller: Caller, name: str) -> None:
    """Check that a path names the project of the key that came with it.

    Raises:
        ProjectNotFoundError: it names another one, whether that is there or not.
    """
    if nfc(name) != caller.project:
        raise ProjectNotFoundError(
            name, "Invalid project id: there is no project"
        )  # as these clients know it
