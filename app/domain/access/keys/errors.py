"""Errors of API keys."""

from app.domain.access.errors import ForbiddenError
from app.platform.errors import DomainError


class ApiKeyNotFoundError(DomainError):
    """No key that still stands has this id."""

    status, name, title = 404, "api-key-not-found", "There is no such API key"


class ScopeBeyondError(ForbiddenError):
    """A key gives a scope that it does not hold itself."""
