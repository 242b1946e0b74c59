"""Errors of customers and aggregates."""

from collections.abc import Sequence

from app.platform.errors import DomainError


class CustomerNotFoundError(DomainError):
    """Nothing is known of this customer."""

    status, name, title = 404, "customer-not-found", "There is no such customer"


class AggregateNotFoundError(DomainError):
    """No aggregate bears this name."""

    status, name, title = 404, "aggregate-not-found", "There is no such aggregate"

    def __init__(self, detail: str, similar: Sequence[str] | None = None) -> None:
        self.similar = list(similar or ())
        super().__init__(detail, **({} if similar is None else {"similar": self.similar}))
