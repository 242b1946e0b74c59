"""Errors of pools."""

from collections.abc import Sequence

from app.platform.errors import DomainError


class PoolNotFoundError(DomainError):
    """No pool bears this name."""

    status, name, title = 404, "pool-not-found", "There is no such pool"

    def __init__(self, pool: str, similar: Sequence[str] | None = None, **extra: object) -> None:
        self.similar = list(similar or ())
        known = {} if similar is None else {"similar": self.similar}
        super().__init__(f"There is no pool named {pool!r}.", pool=pool, **known, **extra)


class PoolExistsError(DomainError):
    """A pool of this name is there already."""

    status, name, title = 409, "pool-exists", "A pool of this name exists"

    def __init__(self, pool: str) -> None:
        super().__init__(f"A pool named {pool!r} exists already.", pool=pool)


class PoolNotEmptyError(DomainError):
    """Codes of this pool were handed out or used, so it stays."""

    status, name, title = 409, "pool-not-empty", "Codes of this pool were handed out or used"

    def __init__(self, pool: str) -> None:
        super().__init__(
            f"Codes of pool {pool!r} were handed out or used, so it cannot be deleted.", pool=pool
        )
