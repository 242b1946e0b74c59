"""Projects, as the paths of trackers name them. There is one today."""

from app.domain.tracking.errors import ProjectNotFoundError

DEFAULT = "default"


def project_of(name: str) -> str:
    """Return the project that a path names.

    Raises:
        ProjectNotFoundError: there is none of this name.
    """
    if name != DEFAULT:
        raise ProjectNotFoundError(f"Invalid project id: there is no project {name[:100]!r}.")
    return DEFAULT
