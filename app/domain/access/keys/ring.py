"""The keys that a process knows: it recognises them, remembers them for seconds, and counts what they send.

What changes a key is told to all processes (`keys.service.KEYS`), which then ask again; where that does not arrive,
what is remembered ends by itself.
"""

import asyncio
import hmac
import time
import uuid

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.access.errors import TooManyRequestsError, UnauthenticatedError
from app.domain.access.keys import queries
from app.domain.access.keys.queries import KnownKey
from app.domain.access.keys.service import PREFIX_BYTES, digest_of
from app.domain.access.scopes import Caller, Scope
from app.platform.batching import copy_exception
from app.platform.database import autocommit
from app.platform.limiter import PerMinute

_MAX_CACHED = 10_000
_REFRESH_SECONDS = 1.0
_OVERDUE_SECONDS = 5.0
"""How long a key that cannot be looked up, because the database does not answer, is honoured beyond its time."""


class KeyRing:
    """Recognises keys, and remembers them for a few seconds so that the hot path asks no database."""

    def __init__(self, engine: AsyncEngine, remember_seconds: float) -> None:
        self._engine = engine
        self._remember_seconds = remember_seconds
        self._known: dict[bytes, tuple[float, Caller, float]] = {}
        """Until when each is remembered, and until when at the most while it is looked up again."""
        self._heard = 0
        """How often something was forgotten: what was asked before may be what is forgotten."""
        self._asking: dict[bytes, asyncio.Task[Caller]] = {}
        self._limiter = PerMinute()

    def remembered(self, secret: str) -> Caller | None:
        """Return the caller, where this process saw the key within the last seconds."""
        entry = self._known.get(digest_of(secret))
        return entry[1] if entry is not None and entry[0] > time.monotonic() else None

    async def recognise(self, secret: str) -> Caller:
        """Return the caller that holds this key.

        Raises:
            UnauthenticatedError: no key that still stands has this secret.
        """
        caller = self.remembered(secret)
        if caller is not None:
            return caller
        digest = digest_of(secret)
        self._prolong(digest)
        asking = self._asking.get(digest)
        if asking is None:  # of many requests that come at once with a key that is new here, one asks for all
            asking = self._asking[digest] = asyncio.create_task(self._ask(digest))
            asking.add_done_callback(lambda done: self._asked(digest, done))
        try:
            return await asyncio.shield(asking)
        except Exception as error:  # noqa: BLE001  (whatever it was, each who waits hears of it)
            raise copy_exception(error) from None

    def _asked(self, digest: bytes, done: "asyncio.Task[Caller]") -> None:
        self._asking.pop(digest, None)
        if not done.cancelled():
            done.exception()  # it was raised in whoever still waits; where nobody does, that is no fault

    async def _ask(self, digest: bytes) -> Caller:
        heard = self._heard
        async with autocommit(self._engine) as connection:
            for row in await queries.with_prefix(connection, digest[:PREFIX_BYTES]):
                left = _seconds_left(row, digest)
                if left > 0:
                    return await self._recognised(connection, row, digest, left, heard)
        self._known.pop(digest, None)
        raise UnauthenticatedError("The API key is not known, has expired, or was revoked.")

    def meter(self, caller: Caller) -> None:
        """Count a request of a key that may send so many a minute.

        Raises:
            TooManyRequestsError: it has sent them.
        """
        if caller.requests_per_minute is None:
            return
        wait = self._limiter.hit(caller.requests_per_minute, str(caller.key_id))
        if wait is not None:
            raise TooManyRequestsError(
                f"This key may send {caller.requests_per_minute} requests a minute to each process.",
                round(wait) + 1,
            )

    async def _recognised(
        self, connection: AsyncConnection, row: KnownKey, digest: bytes, seconds: float, heard: int
    ) -> Caller:
        if row.stale:
            await queries.used(connection, row.id)
        caller = Caller(
            row.id,
            row.name,
            frozenset(map(Scope, row.scopes)),
            row.project_id,
            row.project,
            row.requests_per_minute,
        )
        if heard == self._heard:
            self._remember(digest, caller, min(self._remember_seconds, seconds))
        return caller

    def hear(self, word: str | None) -> None:
        """Forget what was changed elsewhere: the key or the keys of the project whose id this is; None: all."""
        self._heard += 1
        about = _id_in(word)
        self._known = {
            digest: entry
            for digest, entry in self._known.items()
            if about is not None and about not in {entry[1].key_id, entry[1].project_id}
        }

    def forget(self, project_id: int) -> None:
        """Forget the keys of a project that is being deleted: this process refuses them at once."""
        self.hear(str(project_id))

    def _remember(self, digest: bytes, caller: Caller, seconds: float) -> None:
        self._known.pop(digest, None)
        if len(self._known) >= _MAX_CACHED:
            del self._known[next(iter(self._known))]  # the one that was looked up the longest ago
        until = time.monotonic() + seconds
        self._known[digest] = (until, caller, until + min(seconds, _OVERDUE_SECONDS))

    def _prolong(self, digest: bytes) -> None:
        """Let one request ask again for a key whose time is over; those that come meanwhile need not."""
        if (entry := self._known.get(digest)) is not None:
            soon = time.monotonic() + min(_REFRESH_SECONDS, self._remember_seconds)
            self._known[digest] = (min(soon, entry[2]), *entry[1:])


def _id_in(word: str | None) -> uuid.UUID | int | None:
    """Return the id of a key or of a project; None where a word is neither: then it may be about all."""
    try:
        return None if word is None else uuid.UUID(word) if "-" in word else int(word)
    except ValueError:
        return None


def _seconds_left(row: KnownKey, digest: bytes) -> float:
    """Return how long a key is good for this digest; 0 where it is another's, or its time is over."""
    left = float("inf") if row.seconds_left is None else float(row.seconds_left)
    if hmac.compare_digest(row.digest, digest):
        return left
    if row.previous_digest is not None and hmac.compare_digest(row.previous_digest, digest):
        return min(left, float(row.previous_left or 0))
    return 0
