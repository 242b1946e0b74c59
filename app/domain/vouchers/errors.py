"""Errors of vouchers."""

from datetime import UTC

from app.domain.lifecycle.coming import ToCome
from app.platform.errors import DomainError


class VoucherNotFoundError(DomainError):
    """No pool holds this code."""

    status, name, title = 404, "voucher-not-found", "There is no such voucher"

    def __init__(self, to_come: ToCome | None = None, *, pool: str | None = None) -> None:
        if to_come is None:
            super().__init__(
                f"{'No pool holds' if pool is None else f'Pool {pool!r} does not hold'} this code."
            )
        else:
            at = to_come.valid_from.astimezone(UTC).isoformat()
            super().__init__(f"The code comes into pool {to_come.pool!r} at {at}.", valid_from=at)


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
