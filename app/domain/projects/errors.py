"""Errors of projects."""

from app.platform.errors import DomainError


class ProjectNotFoundError(DomainError):
    """No project of this name is there for this key."""

    status, name, title = 404, "project-not-found", "There is no such project"

    def __init__(self, project: str, said: str = "There is no project named") -> None:
        shown = project[:100]
        super().__init__(f"{said} {shown!r}.", project=shown)


class ProjectExistsError(DomainError):
    """A project of this name is there already, or is still being deleted."""

    status, name, title = 409, "project-exists", "A project of this name exists"

    def __init__(self, project: str) -> None:
        super().__init__(f"A project named {project!r} exists already.", project=project)


class ProjectStaysError(DomainError):
    """The first project is neither renamed nor deleted: the first key and the command line rely on it."""

    status, name, title = 409, "project-stays", "The first project stays as it is"

    def __init__(self, project: str) -> None:
        super().__init__(f"Project {project!r} is neither renamed nor deleted.", project=project)


class ProjectDeletingError(DomainError):
    """The project is being deleted: nothing is made or changed in it any more."""

    status, name, title = 409, "project-deleting", "The project is being deleted"

    def __init__(self, project: str) -> None:
        super().__init__(f"Project {project!r} is being deleted.", project=project)
