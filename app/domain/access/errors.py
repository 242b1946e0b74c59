"""Errors of access."""

from typing import ClassVar

from app.platform.errors import DomainError


class UnauthenticatedError(DomainError):
    """No key, or one that is not known."""

    status, name, title = 401, "unauthenticated", "A valid API key is needed"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": "Bearer"}


class ForbiddenError(DomainError):
    """The key is known, but its scopes do not cover this."""

    status, name, title = 403, "forbidden", "The API key lacks the scope"
