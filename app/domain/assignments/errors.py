"""Errors of assignments."""

from typing import ClassVar

from app.platform.errors import DomainError


class PoolExhaustedError(DomainError):
    """Nothing is available in the pool; `reason` is `empty`, `held` or `too_short_lived`."""

    status, name, title = 409, "pool-exhausted", "The pool has no available voucher"
    reason: ClassVar[str] = "empty"
    words: ClassVar[str] = "Pool {pool!r} has no available voucher left."

    def __init__(self, pool: str, **extra: object) -> None:
        super().__init__(self.words.format(pool=pool), pool=pool, reason=self.reason, **extra)


class PoolHeldError(PoolExhaustedError):
    """What is left in the pool is held for campaigns; for all others it is exhausted."""

    reason = "held"
    words = "What is available in pool {pool!r} is held for other campaigns."


class PoolTooShortLivedError(PoolExhaustedError):
    """What is left in the pool expires before the time that was asked for."""

    reason = "too_short_lived"
    words = "What is available in pool {pool!r} expires too soon for this request."


class CustomerLimitError(DomainError):
    """The customer has had as many codes of the pool as its rule allows."""

    status, name, title = 409, "customer-limit", "The customer has had as many codes as the pool gives"

    def __init__(self, pool: str, count: int, days: int | None, **extra: object) -> None:
        time = "" if days is None else f" within {days} days"
        super().__init__(
            f"A customer gets {count} of pool {pool!r}{time}, and this one has had them.",
            pool=pool,
            count=count,
            days=days,
            **extra,
        )


class VoucherNotAvailableError(DomainError):
    """The code that was asked for is not available: `voucher_status` says what it is instead."""

    status, name, title = 409, "voucher-not-available", "The voucher is not available"

    def __init__(self, voucher_status: str) -> None:
        super().__init__(f"The code cannot be given: it is {voucher_status}.", voucher_status=voucher_status)


class PoolBusyError(DomainError):
    """All that is available is locked by others right now, or few codes hold long enough and not all are looked at."""

    status, name, title = 503, "pool-busy", "The pool is busy"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}

    def __init__(self, pool: str, *, searching: bool = False) -> None:
        words = "Every available voucher of pool {pool!r} is locked by others; try again."
        if searching:
            words = "Pool {pool!r} has many codes that expire too soon, and not all were looked at yet; try again."
        super().__init__(words.format(pool=pool), pool=pool)


class AssignmentNotFoundError(DomainError):
    """No assignment has this id."""

    status, name, title = 404, "assignment-not-found", "There is no such assignment"


class AssignmentReleasedError(DomainError):
    """The request was answered before, and its code has since been taken back."""

    status, name, title = 409, "assignment-released", "The assignment of this request was released"
