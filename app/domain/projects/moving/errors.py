"""Errors of moves."""

from app.platform.errors import CommandError


class MoveError(CommandError):
    """A move cannot go on; the message says why, and what to do."""


class LateError(MoveError):
    """The source did not tell in time what changed; nothing that it told is lost."""


class MismatchError(MoveError):
    """What was copied is not what stands at the source: the move must not be finished."""
