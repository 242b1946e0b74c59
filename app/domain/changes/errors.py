"""Errors of changes of many vouchers."""

from app.platform.errors import DomainError


class BulkChangeNotFoundError(DomainError):
    """No change of many vouchers has this id."""

    status, name, title = 404, "bulk-change-not-found", "There is no such bulk change"


class BulkChangeEndedError(DomainError):
    """The change has ended, so that it cannot be cancelled."""

    status, name, title = 409, "bulk-change-ended", "The bulk change has ended"
