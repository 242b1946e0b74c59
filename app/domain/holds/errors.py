"""Errors of holds."""

from app.platform.errors import DomainError


class HoldTooLargeError(DomainError):
    """Too few vouchers of the pool are available and not held; `missing` tells how many more it needs."""

    status, name, title = 409, "hold-too-large", "The pool has too few available vouchers"

    def __init__(self, pool: str, free: int, missing: int) -> None:
        super().__init__(
            f"Pool {pool!r} has {free} available vouchers that are not held: {missing} are missing.",
            pool=pool,
            free=free,
            missing=missing,
        )


class HoldExistsError(DomainError):
    """The campaign has a hold on the pool already."""

    status, name, title = 409, "hold-exists", "The campaign has a hold on this pool"


class HoldNotFoundError(DomainError):
    """No hold has this id."""

    status, name, title = 404, "hold-not-found", "There is no such hold"
