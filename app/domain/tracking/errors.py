"""Errors of tracking."""

from app.platform.errors import DomainError


class ProjectNotFoundError(DomainError):
    """No project of this name is there for this key."""

    status, name, title = 404, "project-not-found", "There is no such project"
