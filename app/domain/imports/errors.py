"""Errors of imports."""

from collections.abc import Mapping, Sequence

from app.platform.errors import DomainError, OverloadedError


class ImportNotFoundError(DomainError):
    """No import has this id."""

    status, name, title = 404, "import-not-found", "There is no such import"


class ImportNotFinishedError(DomainError):
    """The import is still under way."""

    status, name, title = 409, "import-not-finished", "The import is still under way"


class ImportEndedError(DomainError):
    """The import has ended, and cannot be cancelled; undo it, where it brought codes."""

    status, name, title = 409, "import-ended", "The import has ended"


class ImportCancelledError(DomainError):
    """The import was cancelled while it ran."""

    status, name, title = 409, "import-cancelled", "The import was cancelled"


class TooManyPreviewsError(OverloadedError):
    """As many sources are being fetched for previews as one process may fetch at a time."""

    headers = {"Retry-After": "5"}  # noqa: RUF012  (as the base declares it)

    def __init__(self) -> None:
        super().__init__("Other previews are being fetched; try again in a few seconds.")


class UnreadableError(DomainError):
    """The source of an import cannot be read to its end; the detail says what is wrong with it, and where."""

    status, name, title = 422, "unreadable-source", "The source cannot be read"


class ImportUndecidedError(UnreadableError):
    """The file does not show which column holds the codes, or whether it has a header; `choices` are the answers."""

    status, name, title = 422, "import-undecided", "The file leaves open what only you can say"

    def __init__(
        self, detail: str, choices: Mapping[str, Sequence[Mapping[str, object]]], **extra: object
    ) -> None:
        super().__init__(detail, choices=choices, **extra)
        self.choices = choices
