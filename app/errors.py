"""The errors of the domain. No HTTP here beyond the status that each one carries; `problems.py` writes them out."""

from typing import Any, ClassVar


class DomainError(Exception):
    """Something that the caller can act on.

    `name` is the last part of the problem's `type`, `extra` holds further members of the problem (RFC 9457, 3.2).
    """

    status: ClassVar[int]
    name: ClassVar[str]
    title: ClassVar[str]
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class UnauthenticatedError(DomainError):
    """No key, or one that is not known."""

    status, name, title = 401, "unauthenticated", "A valid API key is needed"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": "Bearer"}


class ForbiddenError(DomainError):
    """The key is known, but its scopes do not cover this."""

    status, name, title = 403, "forbidden", "The API key lacks the scope"


class PoolNotFoundError(DomainError):
    """No pool bears this name."""

    status, name, title = 404, "pool-not-found", "There is no such pool"

    def __init__(self, pool: str, **extra: Any) -> None:
        super().__init__(f"There is no pool named {pool!r}.", pool=pool, **extra)


class PoolExistsError(DomainError):
    """A pool of this name is there already."""

    status, name, title = 409, "pool-exists", "A pool of this name exists"

    def __init__(self, pool: str) -> None:
        super().__init__(f"A pool named {pool!r} exists already.", pool=pool)


class PoolNotEmptyError(DomainError):
    """Codes of this pool were handed out, so it stays."""

    status, name, title = 409, "pool-not-empty", "Codes of this pool were handed out"

    def __init__(self, pool: str) -> None:
        super().__init__(f"Codes of pool {pool!r} were handed out, so it cannot be deleted.", pool=pool)


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


class PoolBusyError(DomainError):
    """All that is available is locked by others right now."""

    status, name, title = 503, "pool-busy", "The pool is busy"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}

    def __init__(self, pool: str) -> None:
        super().__init__(
            f"Every available voucher of pool {pool!r} is locked by others; try again.", pool=pool
        )


class OverloadedError(DomainError):
    """More requests wait than can be answered in time; nothing was taken for this one."""

    status, name, title = 503, "overloaded", "Too many requests are waiting"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}

    def __init__(self) -> None:
        super().__init__("More requests wait for this pool than can be answered in time; try again.")


class ClientGoneError(DomainError):
    """Nobody waits for the answer any more, so nothing was taken for it."""

    status, name, title = 499, "client-closed-request", "The client hung up"

    def __init__(self) -> None:
        super().__init__("The client hung up before its turn came; nothing was taken.")


class VoucherNotFoundError(DomainError):
    """No pool holds this code."""

    status, name, title = 404, "voucher-not-found", "There is no such voucher"

    def __init__(self) -> None:
        super().__init__("No pool holds this code.")


class AlreadyRedeemedError(DomainError):
    """The code was used before."""

    status, name, title = 409, "already-redeemed", "The voucher was redeemed before"

    def __init__(self) -> None:
        super().__init__("The voucher was redeemed before, which is final.")


class VoucherVoidError(DomainError):
    """The code was taken out."""

    status, name, title = 409, "void", "The voucher is void"

    def __init__(self) -> None:
        super().__init__("The voucher was made void, which is final.")


class VoucherExpiredError(DomainError):
    """The code is past its `expires_at`."""

    status, name, title = 409, "expired", "The voucher has expired"

    def __init__(self) -> None:
        super().__init__("The voucher is past its expiry.")


class ImportNotFoundError(DomainError):
    """No import has this id."""

    status, name, title = 404, "import-not-found", "There is no such import"


class AssignmentNotFoundError(DomainError):
    """No assignment has this id."""

    status, name, title = 404, "assignment-not-found", "There is no such assignment"


class CustomerNotFoundError(DomainError):
    """Nothing is known of this customer."""

    status, name, title = 404, "customer-not-found", "There is no such customer"


class AggregateNotFoundError(DomainError):
    """No aggregate bears this name."""

    status, name, title = 404, "aggregate-not-found", "There is no such aggregate"


class AlertNotFoundError(DomainError):
    """Nobody asked to be told of this pool."""

    status, name, title = 404, "alert-not-found", "The pool has no alerts"

    def __init__(self, pool: str) -> None:
        super().__init__(f"Nobody is told of pool {pool!r}; set its alerts with PUT.", pool=pool)


class IdempotencyKeyReusedError(DomainError):
    """The key came before, with another request."""

    status, name, title = 422, "idempotency-key-reused", "The idempotency key was used for another request"


class AssignmentReleasedError(DomainError):
    """The request was answered before, and its code has since been taken back."""

    status, name, title = 409, "assignment-released", "The assignment of this request was released"


class InvalidRequestError(DomainError):
    """The request does not say what it must; `errors` tells where."""

    status, name, title = 422, "invalid-request", "The request is not valid"

    def __init__(self, detail: str, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(detail, errors=errors or [])


class TemplateError(DomainError):
    """The template cannot be rendered; `line` tells where."""

    status, name, title = 422, "template-error", "The template cannot be rendered"


class TemplateLimitError(DomainError):
    """The template is too long, too slow or prints too much."""

    status, name, title = 422, "template-limit", "The template exceeds a limit"


class PayloadTooLargeError(DomainError):
    """The request body is larger than the service takes."""

    status, name, title = 413, "payload-too-large", "The request body is too large"


class UnsupportedMediaTypeError(DomainError):
    """The request body is of a type that this route does not read."""

    status, name, title = 415, "unsupported-media-type", "The media type is not supported"


class ImportNotFinishedError(DomainError):
    """The import is still under way."""

    status, name, title = 409, "import-not-finished", "The import is still under way"


class ScheduleNotFoundError(DomainError):
    """No import schedule has this id."""

    status, name, title = 404, "schedule-not-found", "There is no such import schedule"


class UnreadableError(DomainError):
    """The source of an import cannot be read to its end; the detail says what is wrong with it, and where."""

    status, name, title = 422, "unreadable-source", "The source cannot be read"


class AddressForbiddenError(DomainError):
    """A request that the service was to make leads to where it may not go."""

    status, name, title = 422, "address-forbidden", "The service may not connect to this address"


class DatabaseUnavailableError(DomainError):
    """PostgreSQL cannot be reached right now; nothing was done or lost."""

    status, name, title = 503, "database-unavailable", "The database cannot be reached"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class PortTakenError(Exception):
    """The address to listen on is not free, or not ours."""
