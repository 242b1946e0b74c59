"""Errors of alerts."""

from app.platform.errors import DomainError


class AlertNotFoundError(DomainError):
    """Nobody asked to be told of this pool."""

    status, name, title = 404, "alert-not-found", "The pool has no alerts"

    def __init__(self, pool: str) -> None:
        super().__init__(f"Nobody is told of pool {pool!r}; set its alerts with PUT.", pool=pool)
