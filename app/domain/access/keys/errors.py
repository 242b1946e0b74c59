"""Errors of API keys."""

from app.platform.errors import DomainError


class ApiKeyNotFoundError(DomainError):
    """No key that still stands has this id."""

    status, name, title = 404, "api-key-not-found", "There is no such API key"


class ScopeBeyondError(DomainError):
    """A key gives a scope that it does not hold itself."""

    status, name, title = 403, "forbidden", "The API key lacks the scope"
