"""The keys that a process knows: it recognises them, remembers them for seconds, and counts what they send.

What changes a key is told to all processes (`keys.service.KEYS`), which then ask again; where that does not arrive,
what is remembered ends by itself. Keys in use whose time ends soon are asked for together: what a process asks does not
grow with their number.
"""

import asyncio
import hmac
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

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
"""Keys that are kept in mind, also those whose time is over: who brings one of these does not guess."""
_REFRESH_SECONDS = 1.0
_OVERDUE_SECONDS = 5.0
"""How long a key that cannot be looked up, because the database does not answer, is honoured beyond its time."""
_MOST_AT_ONCE = 500
"""Most keys that are asked for together."""
AWAY_SECONDS = 1.0
"""Longest wait for a control database that may be away, where the key is known and its project lives elsewhere."""


@dataclass(slots=True)
class _Known:
    """A key as it was recognised; the moments are of the monotonic clock."""

    caller: Caller
    until: float
    """Until then nobody need ask for it again."""
    overdue: float
    """Until then at the most while it is looked up again."""
    outlives: float
    """Until then it is good while the control database is away."""
    used: bool = False
    """Whether a request had it since it was asked for."""


class KeyRing:
    """Recognises keys, and remembers them for a few seconds so that the hot path asks no database.

    Those of projects that live elsewhere are good for longer while the control database is away.
    """

    def __init__(self, databases: Databases, remember_seconds: float, outlive_seconds: float = 0) -> None:
        self._databases = databases
        self._remember_seconds = remember_seconds
        self._outlive_seconds = outlive_seconds
        self._known: dict[bytes, _Known] = {}
        self._heard = 0
        """How often something was forgotten: what was asked before may be what is forgotten."""
        self._asking: dict[bytes, asyncio.Task[Caller]] = {}
        self._limiter = PerMinute()
        self._refusals = refusals.count

    def remembered(self, secret: str) -> Caller | None:
        """Return the caller, where this process saw the key within the last seconds."""
        if refusals.count != self._refusals:
            self._forget_moved()
        entry = self._known.get(digest_of(secret))
        if entry is None or entry.until <= time.monotonic():
            return None
        entry.used = True
        return entry.caller

    def knows(self, secret: str) -> bool:
        """Tell whether this process has recognised the key before, so that it is no guess; it may be good no more."""
        return digest_of(secret) in self._known

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
            async with asyncio.timeout(AWAY_SECONDS if self._outliving(digest) else None):
                return await asyncio.shield(asking)
        except Exception as error:  # noqa: BLE001  (whatever it was, each who waits hears of it)
            known = self._outliving(digest)  # it may be known no more
            if known is None:
                raise copy_exception(error) from None
            self._known[digest] = replace(known, until=time.monotonic() + self._remember_seconds)
            return known.caller

    def _asked(self, digest: bytes, done: "asyncio.Task[Caller]") -> None:
        if self._asking.get(digest) is done:
            del self._asking[digest]
        if not done.cancelled():
            done.exception()  # it was raised in whoever still waits; where nobody does, that is no fault

    async def _ask(self, digest: bytes) -> Caller:
        """Ask for a key, and for those in use that would be asked for soon."""
        heard = self._heard
        digests = list(dict.fromkeys((digest, *islice(self._due(), _MOST_AT_ONCE))))
        found = await self._found(digests)
        for each in digests:
            if each not in found:
                self._known.pop(each, None)
            elif heard == self._heard:
                self._remember(each, *found[each])
        if digest not in found:
            raise UnauthenticatedError("The API key is not known, has expired, or was revoked.")
        return found[digest][0]

    def _due(self) -> Iterator[bytes]:
        """Yield the keys in use whose time ends soon."""
        now = time.monotonic()
        for digest, known in self._known.items():  # the longest known first
            if known.until > now + self._remember_seconds / 2:
                return
            if known.used:
                known.used = False  # who asks meanwhile for another one need not ask for it too
                yield digest

    async def _found(self, digests: Sequence[bytes]) -> dict[bytes, tuple[Caller, float]]:
        """Look keys up, and note that they are used.

        Returns:
            By digest, of those that stand: who holds it, and for how many seconds it is good.
        """
        wanted, found, stale = set(digests), dict[bytes, tuple[Caller, float]](), set[uuid.UUID]()
        async with autocommit(self._databases.main.short) as connection:
            rows = await queries.with_prefixes(connection, [digest[:PREFIX_BYTES] for digest in digests])
            for row in rows:
                self._databases.learn(row.database_id, row.database, row.database_url)
                for digest in wanted.intersection((row.digest, row.previous_digest)):
                    if (left := _seconds_left(row, digest)) > 0:
                        found[digest] = _caller(row), left
                        stale |= {row.id} if row.stale else set()
            if stale:
                await queries.used(connection, stale)
        return found

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

    def hear(self, word: str | None) -> None:
        """Ask again for what was changed elsewhere: the key or the keys of the project whose id this is.

        None: each may have been changed; one that outlives the control database still does.
        """
        self._heard += 1
        self._asking = {}  # whoever comes from here on asks for himself
        about = _id_in(word)
        for digest, known in self._known.items():
            if about is None:
                self._known[digest] = replace(known, until=0, overdue=0)
            elif about in {known.caller.key_id, known.caller.project_id}:
                self._known[digest] = replace(known, until=0, overdue=0, outlives=0)

    def forget(self, project_id: int) -> None:
        """Ask anew for the keys of a project, which is being deleted or moves."""
        self.hear(str(project_id))

    def _forget_moved(self) -> None:
        """Ask anew where projects live that a database refused because they move, or have moved."""
        self._refusals = refusals.count
        for project_id in refusals.take():
            self.forget(project_id)

    def _remember(self, digest: bytes, caller: Caller, seconds: float) -> None:
        """Remember a key that is good for so long."""
        self._known.pop(digest, None)
        if len(self._known) >= _MAX_CACHED:
            del self._known[next(iter(self._known))]  # the one that was looked up the longest ago
        now = time.monotonic()
        until = now + min(self._remember_seconds, seconds)
        outlives = now + min(self._outlive_seconds if caller.database_id != MAIN else 0, seconds)
        self._known[digest] = _Known(caller, until, until + min(until - now, _OVERDUE_SECONDS), outlives)

    def _prolong(self, digest: bytes) -> None:
        """Let one request ask again for a key whose time is over; those that come meanwhile need not."""
        if (known := self._known.get(digest)) is not None:
            soon = time.monotonic() + min(_REFRESH_SECONDS, self._remember_seconds)
            self._known[digest] = replace(known, until=min(soon, known.overdue))

    def _outliving(self, digest: bytes) -> _Known | None:
        """Return a key that is known and good while the control database is away."""
        known = self._known.get(digest)
        return known if known is not None and known.outlives > time.monotonic() else None


def _id_in(word: str | None) -> uuid.UUID | int | None:
    """Return the id of a key or of a project; None where a word is neither: then it may be about all."""
    try:
        return None if word is None else uuid.UUID(word) if "-" in word else int(word)
    except ValueError:
        return None


def _caller(row: KnownKey) -> Caller:
    return Caller(
        row.id,
        row.name,
        frozenset(map(Scope, row.scopes)),
        row.project_id,
        row.project,
        row.requests_per_minute,
        row.database_id,
    )


def _seconds_left(row: KnownKey, digest: bytes) -> float:
    """Return how long a key is good for this digest; 0 where it is another's, or its time is over."""
    left = float("inf") if row.seconds_left is None else float(row.seconds_left)
    if hmac.compare_digest(row.digest, digest):
        return left
    if row.previous_digest is not None and hmac.compare_digest(row.previous_digest, digest):
        return min(left, float(row.previous_left or 0))
    return 0
