"""The API key in the head of a request; no framework is needed to find it."""

from app.domain.access.errors import UnauthenticatedError


def secret_in(authorization: str | None) -> str:
    """Return the key in an `Authorization` header.

    Raises:
        UnauthenticatedError: there is none.
    """
    scheme, _, secret = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise UnauthenticatedError("Send an API key as 'Authorization: Bearer KEY'.")
    return secret
