"""The errors of the domain. No HTTP here beyond the status that each one carries; `problems.py` writes them out."""

from collections.abc import Sequence
from typing import ClassVar, NotRequired, Self, TypedDict

from pydantic_core import ErrorDetails


class DomainError(Exception):
    """Something that the caller can act on.

    `name` is the last part of the problem's `type`, `extra` holds further members of the problem (RFC 9457, 3.2).
    """

    status: ClassVar[int]
    name: ClassVar[str]
    title: ClassVar[str]
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, detail: str, **extra: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class OverloadedError(DomainError):
    """More requests wait than can be answered in time; nothing was taken for this one."""

    status, name, title = 503, "overloaded", "Too many requests are waiting"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}

    def __init__(
        self, said: str = "More requests wait for this pool than can be answered in time; try again."
    ) -> None:
        super().__init__(said)


class ClientGoneError(DomainError):
    """Nobody waits for the answer any more, so nothing was taken for it."""

    status, name, title = 499, "client-closed-request", "The client hung up"

    def __init__(self) -> None:
        super().__init__("The client hung up before its turn came; nothing was taken.")


class Fault(TypedDict):
    """What is wrong at one place of a request."""

    loc: Sequence[str | int]
    msg: str
    line: NotRequired[int]
    column: NotRequired[int]


class InvalidRequestError(DomainError):
    """The request does not say what it must; `errors` tells where."""

    status, name, title = 422, "invalid-request", "The request is not valid"

    def __init__(self, detail: str, errors: Sequence[Fault]) -> None:
        self.errors = list(errors)
        super().__init__(detail, errors=self.errors)

    @classmethod
    def of_body(cls, detail: str) -> Self:
        """Return what is wrong with a body as a whole."""
        return cls(detail, [{"loc": ["body"], "msg": detail}])

    @classmethod
    def from_errors(cls, errors: Sequence[ErrorDetails], *prefix: str) -> Self:
        """Return what Pydantic found as one error; `prefix` goes before each place."""
        found: list[Fault] = [
            {"loc": [*prefix, *item["loc"]], "msg": item["msg"].removeprefix("Value error, ")}
            for item in errors
        ]
        return cls("; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in found), found)


class NotFoundError(DomainError):
    """Nothing is at this path."""

    status, name, title = 404, "not-found", "Not found"


class IdempotencyKeyReusedError(DomainError):
    """The key came before, with another request."""

    status, name, title = 422, "idempotency-key-reused", "The idempotency key was used for another request"


class PayloadTooLargeError(DomainError):
    """The request body is larger than the service takes."""

    status, name, title = 413, "payload-too-large", "The request body is too large"


class UnsupportedMediaTypeError(DomainError):
    """The request body is of a type that this route does not read."""

    status, name, title = 415, "unsupported-media-type", "The media type is not supported"


class DatabaseUnavailableError(DomainError):
    """PostgreSQL did not answer, or its answer was lost; what was asked for may have been done."""

    status, name, title = 503, "database-unavailable", "The database cannot be reached"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}

    def __init__(
        self,
        said: str = "The database did not answer, or its answer was lost: this may have been done. Send it again with"
        " the same Idempotency-Key or id, and it is done once.",
    ) -> None:
        super().__init__(said)


class ProjectMovingError(DomainError):
    """The project moves to another database just now; nothing was done or lost."""

    status, name, title = 503, "project-moving", "The project moves to another database"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}

    def __init__(self) -> None:
        super().__init__("The project moves to another database; nothing was changed. Try again in a moment.")


class ChangesConflictError(DomainError):
    """Two changes met, and neither could be tried again; nothing was changed."""

    status, name, title = 409, "conflict", "Two changes met"

    def __init__(self) -> None:
        super().__init__(
            "Another change of the same things was under way each time; nothing was changed. Try again."
        )


class CommandError(Exception):
    """A command cannot be carried out; the message is for the person who typed it."""
