"""The keys that a process knows: it recognises them, remembers them for seconds, and counts what they send."""

import asyncio
import hmac
import time
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.access.errors import TooManyRequestsError, UnauthenticatedError
from app.domain.access.keys import queries
from app.domain.access.keys.queries import KnownKey
from app.domain.access.keys.service import PREFIX_BYTES, digest_of
from app.domain.access.scopes import Caller, Scope
from app.platform.batching import copy_exception
from app.platform.database import autocommit
from app.platform.databases import MAIN, Databases
from app.platform.limiter import PerMinute
from app.platform.moves import refusals

_MAX_CACHED = 10_000
_REFRESH_SECONDS = 1.0
AWAY_SECONDS = 1.0
"""Longest wait for a control database that may be away, where the key is known and its project lives elsewhere."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A key as it was recognised; the moments are of the monotonic clock."""

    until: float
    """Until then nobody need ask for it again."""
    caller: Caller
    outlives: float
    """Until then it is good while the control database is away."""


class KeyRing:
    """Recognises keys, and remembers them for a few seconds so that the hot path asks no database.

    Those of projects that live elsewhere are good for longer while the control database is away.
    """

    def __init__(self, databases: Databases, remember_seconds: float, outlive_seconds: float = 0) -> None:
        self._databases = databases
        self._remember_seconds = remember_seconds
        self._outlive_seconds = outlive_seconds
        self._known: dict[bytes, _Known] = {}
        self._asking: dict[bytes, asyncio.Task[Caller]] = {}
        self._limiter = PerMinute()
        self._refusals = refusals.count

    def remembered(self, secret: str) -> Caller | None:
        """Return the caller, where this process saw the key within the last seconds."""
        if refusals.count != self._refusals:
            self._forget_moved()
        entry = self._known.get(digest_of(secret))
        return entry.caller if entry is not None and entry.until > time.monotonic() else None

    async def recognise(self, secret: str) -> Caller:
        """Return the caller that holds this key.

        Raises:
            UnauthenticatedError: no key that still stands has this secret.
        """
        caller = self.remembered(secret)
        if caller is not None:
            return caller
        digest = digest_of(secret)
        known = self._known.get(digest)
        if known is not None:  # one request asks again; those that come meanwhile need not
            self._remember(digest, known, min(_REFRESH_SECONDS, self._remember_seconds))
        asking = self._asking.get(digest)
        if asking is None:  # of many requests that come at once with a key that is new here, one asks for all
            asking = self._asking[digest] = asyncio.create_task(self._ask(digest))
            asking.add_done_callback(lambda done: self._asked(digest, done))
        outlives = known is not None and known.outlives > time.monotonic()
        try:
            async with asyncio.timeout(AWAY_SECONDS if outlives else None):
                return await asyncio.shield(asking)
        except Exception as error:  # noqa: BLE001  (whatever it was, each who waits hears of it)
            if known is None or not outlives or isinstance(error, UnauthenticatedError):
                raise copy_exception(error) from None
            self._remember(digest, known, self._remember_seconds)
            return known.caller

    def _asked(self, digest: bytes, done: "asyncio.Task[Caller]") -> None:
        self._asking.pop(digest, None)
        if not done.cancelled():
            done.exception()  # it was raised in whoever still waits; where nobody does, that is no fault

    async def _ask(self, digest: bytes) -> Caller:
        async with autocommit(self._databases.main.short) as connection:
            for row in await queries.with_prefix(connection, digest[:PREFIX_BYTES]):
                left = _seconds_left(row, digest)
                if left > 0:
                    return await self._recognised(connection, row, digest, left)
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
                f"This key may send {caller.requests_per_minute} requests a minute.", round(wait) + 1
            )

    async def _recognised(
        self, connection: AsyncConnection, row: KnownKey, digest: bytes, seconds: float
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
            row.database_id,
        )
        self._databases.learn(row.database_id, row.database, row.database_url)
        elsewhere = self._outlive_seconds if row.database_id != MAIN else 0
        known = _Known(0, caller, time.monotonic() + min(elsewhere, seconds))
        self._remember(digest, known, min(self._remember_seconds, seconds))
        return caller

    def forget(self, project_id: int) -> None:
        """Forget the keys of a project, which is being deleted or moves: this process asks for them anew."""
        self._known = {
            digest: known for digest, known in self._known.items() if known.caller.project_id != project_id
        }

    def _forget_moved(self) -> None:
        """Ask anew where projects live that a database refused because they move, or have moved."""
        self._refusals = refusals.count
        for project_id in refusals.take():
            self.forget(project_id)

    def _remember(self, digest: bytes, known: _Known, seconds: float) -> None:
        if len(self._known) >= _MAX_CACHED:
            self._known.clear()
        self._known[digest] = replace(known, until=time.monotonic() + seconds)


def _seconds_left(row: KnownKey, digest: bytes) -> float:
    """Return how long a key is good for this digest; 0 where it is another's, or its time is over."""
    left = float("inf") if row.seconds_left is None else float(row.seconds_left)
    if hmac.compare_digest(row.digest, digest):
        return left
    if row.previous_digest is not None and hmac.compare_digest(row.previous_digest, digest):
        return min(left, float(row.previous_left or 0))
    return 0
