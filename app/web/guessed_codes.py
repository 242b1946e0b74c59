"""A limit on look-ups of codes that are not there: a key that sees no code whole is not to find one by guessing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from app.domain.access.errors import TooManyRequestsError
from app.domain.access.scopes import Caller
from app.domain.vouchers.errors import VoucherNotFoundError
from app.platform.limiter import PerMinute
from app.web.dependencies import held

MISSES_PER_MINUTE = 20


class GuessedCodes:
    """Counts look-ups that found no code, by key, in this process."""

    def __init__(self) -> None:
        self._limiter = PerMinute()

    @contextmanager
    def of(self, caller: Caller) -> Iterator[None]:
        """Let a caller look up one code; who sees codes whole may as often as he likes.

        Raises:
            TooManyRequestsError: too many of the caller's look-ups within the minute found none.
        """
        if caller.sees_codes:
            yield
            return
        key = str(caller.key_id)
        if not self._limiter.has_room(MISSES_PER_MINUTE, key):
            raise TooManyRequestsError(
                "Too many codes that this key asked for are not there; wait a minute.", 60
            )
        try:
            yield
        except VoucherNotFoundError:
            self._limiter.hit(MISSES_PER_MINUTE, key)
            raise


Guesses = Annotated[GuessedCodes, held(GuessedCodes)]
