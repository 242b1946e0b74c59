"""Errors of assignments."""

from typing import Any, ClassVar

from app.platform.errors import DomainError


class PoolExhaustedError(DomainError):
    """Nothing is available in the pool."""

    status, name, title = 409, "pool-exhausted", "The pool has no available voucher"

    def __init__(self, pool: str, **extra: Any) -> None:
        super().__init__(f"Pool {pool!r} has no available voucher left.", pool=pool, **extra)


class PoolHeldError(PoolExhaustedError):
    """What is left in the pool is held for campaigns; for all others it is exhausted."""

    def __init__(self, pool: str) -> None:
        detail = f"What is available in pool {pool!r} is held for other campaigns."
        DomainError.__init__(self, detail, pool=pool)


class PoolBusyError(DomainError):
    """All that is available is locked by others right now."""

    status, name, title = 503, "pool-busy", "The pool is busy"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}

    def __init__(self, pool: str) -> None:
        super().__init__(
            f"Every available voucher of pool {pool!r} is locked by others; try again.", pool=pool
        )


class AssignmentNotFoundError(DomainError):
    """No assignment has this id."""

    status, name, title = 404, "assignment-not-found", "There is no such assignment"


class AssignmentReleasedError(DomainError):
    """The request was answered before, and its code has since been taken back."""

    status, name, title = 409, "assignment-released", "The assignment of this request was released"
