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


class TooManyRequestsError(DomainError):
    """More requests than the key, or the address, may send in a minute."""

    status, name, title = 429, "too-many-requests", "Too many requests"

    def __init__(self, detail: str, seconds: int) -> None:
        super().__init__(detail)
        self.headers = {"Retry-After": str(max(seconds, 1))}  # type: ignore[misc]  # of this case, not of the class
