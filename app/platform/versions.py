"""Versions of things that people edit: nobody undoes another's edit that he has not seen.

A version is made of what is stored and can be edited, not of counts and of what the clock moves. Who edits says which
version he has seen, and the service compares under the row's lock, in the transaction that writes.
"""

import hashlib
from dataclasses import dataclass

import orjson

from app.platform.errors import DomainError


class PreconditionFailedError(DomainError):
    """The thing is not as the caller has seen it: somebody changed it, or it is gone; nothing was changed."""

    status, name, title = 412, "precondition-failed", "It was changed in the meantime"

    def __init__(self, current: str | None) -> None:
        said = (
            "It is not there (any more); nothing was changed."
            if current is None
            else "Somebody changed it since that version; nothing was changed. Read it again and decide anew."
        )
        super().__init__(said)
        self.current = current
        """The version that there is."""
        if current is not None:
            self.headers = {"ETag": f'"{current}"'}  # type: ignore[misc]  # of this error alone


def version(*stored: object) -> str:
    """Return the version of a thing, made of these values of it."""
    text = orjson.dumps(stored, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)
    return hashlib.sha256(text).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a caller takes a thing for that he changes: one of these versions, or (None) anything that is there.

    A version that is None among them stands for a thing that is not there: nothing is replaced unseen.
    """

    versions: frozenset[str | None] | None = None

    def check(self, current: str | None) -> None:
        """Compare with the version that there is; None where there is nothing.

        Raises:
            PreconditionFailedError: it is another one.
        """
        met = current is not None if self.versions is None else current in self.versions
        if not met:
            raise PreconditionFailedError(current)


def check(expected: Expected | None, current: str | None) -> None:
    """Compare where the caller expects something; who expects nothing may change whatever is there."""
    if expected is not None:
        expected.check(current)
