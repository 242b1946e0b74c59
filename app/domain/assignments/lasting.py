"""Find codes that hold long enough, with a bounded amount of work for each draw.

First some codes are looked through in draw order: in most pools that is all. Then those that expire late enough are
taken by their index. What is left are codes without an expiry among many that expire too soon: for these the draw
order is looked through step by step, and the process remembers how far it came, so that the next draw goes on there.
"""

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.lifecycle import draw_keys, lasting
from app.domain.lifecycle.claim import Allowance, Locked
from app.domain.lifecycle.lasting import Room, Wanted

NEAR = 1000
"""Codes that each draw looks through at first."""
STEP, STEPS, SECONDS = 20_000, 200, 1.0
"""Codes that one statement looks through after that, and how many such statements a draw takes, and how long."""
KNOWN_SECONDS = 5
"""How long it is remembered that nothing was met all around, unless codes came in since."""
_MAX_PLACES = 10_000
Range = tuple[int, int]


@dataclass(slots=True)
class Place:
    """How far this process has looked through a pool: a hint, on which nothing depends but the work."""

    available: int
    """The fewest codes that the pool has had since the search began: more means that some came in."""
    at: int = field(default_factory=draw_keys.anywhere)
    """Up to which draw key it has looked."""
    since: int = 0
    """Behind which draw key it began to meet nothing."""
    is_round: bool = False
    """Whether it has passed the end since then, and goes on from the front."""
    none_at: float | None = None
    """When it had been all around and had met nothing."""
    shown: int = draw_keys.FIRST
    """Behind which draw key the code stands that previews show."""

    def __post_init__(self) -> None:
        self.since = self.at

    def begin(self) -> None:
        """Begin to look all around from here."""
        self.since, self.is_round, self.none_at = self.at, False, None

    def enter(self, available: int) -> None:
        """Forget what was met where codes came in, or where that is long ago."""
        old = self.none_at is not None and time.monotonic() - self.none_at > KNOWN_SECONDS
        if old or available > self.available:
            self.begin()
            self.available = available
        self.available = min(self.available, available)

    def ahead(self) -> Range:
        """Return between which draw keys to look next."""
        return self.at, self.since if self.is_round else draw_keys.LAST

    def passed(self, between: Range, last: int | None) -> bool:
        """Note up to where it was looked (None: to the end of what was ahead); return whether that closes the round.

        Another draw of this process may have gone on meanwhile: then this one's way counts for nothing.
        """
        if between != self.ahead():
            return False
        if last is not None:
            self.at = last
            return False
        closed = self.is_round
        self.at, self.is_round = (self.since, False) if closed else (draw_keys.FIRST, True)
        return closed


_PLACES: OrderedDict[int, Place] = OrderedDict()


def _place_in(room: Room) -> Place:
    found = _PLACES.setdefault(room.pool_id, Place(room.available))
    _PLACES.move_to_end(room.pool_id)
    if len(_PLACES) > _MAX_PLACES:
        _PLACES.popitem(last=False)
    found.enter(room.available)
    return found


@dataclass(slots=True)
class Search:
    """One draw's search, and what it has come to."""

    connection: AsyncConnection
    wanted: Wanted
    n: int
    """How many codes it looks for."""
    place: Place
    rows: list[Locked] = field(default_factory=list)
    """What was found."""
    others_have_some: bool = False
    """Whether others have locked codes that hold long enough."""
    looked_at_all: bool = False
    """Whether nothing else holds long enough."""

    @property
    def is_short(self) -> bool:
        """Return whether something is still missing."""
        return len(self.rows) < self.n

    async def run(self) -> None:
        """Look for what is wanted, as far as one draw goes."""
        await self._look(NEAR)
        if not self.is_short or self.looked_at_all:
            return
        self.rows += await lasting.by_expiry(self.connection, self._besides(), self.n - len(self.rows))
        if self.is_short:
            self.others_have_some |= await lasting.some_expire_late(self.connection, self._besides())
        self.looked_at_all = self.place.none_at is not None
        ends = time.monotonic() + SECONDS
        for _ in range(STEPS):
            if not self.is_short or self.looked_at_all or time.monotonic() > ends:
                break
            await self._look(STEP)

    async def _look(self, most: int) -> None:
        """Look through the next codes in draw order, and at the end go on from the front."""
        for _ in ("to the end", "from the front"):
            between = self.place.ahead()
            missing = self.n - len(self.rows)
            walked = await lasting.walk(self.connection, self._besides(), missing, between, most)
            self.rows += walked.rows
            self.others_have_some |= walked.seen > len(walked.rows)
            closed = self.place.passed(between, walked.last)
            if walked.seen:
                self.place.begin()
            elif closed:
                self.looked_at_all = True
                # What is ours may come back: the transaction is not committed yet.
                self.place.none_at = None if self.rows or self.wanted.ours else time.monotonic()
            if not self.is_short or self.looked_at_all or walked.last is not None:
                return

    def _besides(self) -> Wanted:
        return replace(self.wanted, ours=[*self.wanted.ours, *(row.code for row in self.rows)])


async def find(
    connection: AsyncConnection,
    pool: str,
    n: int,
    allowance: Allowance,
    valid_for: int,
    ours: Sequence[str],
) -> Search | None:
    """Find and lock up to `n` available codes that hold for `valid_for` seconds more, besides `ours`.

    Args:
        connection: of the transaction.
        pool: name of the pool.
        n: how many.
        allowance: what may be drawn where the pool has holds.
        valid_for: seconds.
        ours: codes that this transaction has locked already.

    Returns:
        What it came to; None where the pool has nothing that this draw may take, or is none.
    """
    room = await lasting.room(connection, pool, allowance)
    if room is None or (n := min(n, room.n)) <= 0:
        return None
    search = Search(connection, Wanted(room.pool_id, valid_for, ours, lock=True), n, _place_in(room))
    if _ends_too_soon(room, valid_for):
        search.looked_at_all = True
    else:
        await search.run()
    return search


def _ends_too_soon(room: Room, valid_for: int) -> bool:
    """Return whether the pool itself gives nothing that holds so long."""
    days = room.expires_after_days
    return days is not None and timedelta(days=days) < timedelta(seconds=valid_for)


async def show(connection: AsyncConnection, pool: str, valid_for: int) -> Search | None:
    """Find a code that holds long enough and lock nothing: the same one as long as nobody draws it.

    Returns:
        What it came to; None where the pool has nothing, or is none.
    """
    room = await lasting.room(connection, pool, Allowance(1))
    if room is None or room.n <= 0:
        return None
    wanted = Wanted(room.pool_id, valid_for, (), lock=False)
    place = _place_in(room)
    search = Search(connection, wanted, 1, Place(room.available, place.shown, none_at=place.none_at))
    if _ends_too_soon(room, valid_for):
        search.looked_at_all = True
        return search
    await search.run()
    if search.is_short and not search.looked_at_all:
        search.place = place  # it is far off: where the draws of this process have come to
        await search.run()
    for row in search.rows:
        place.shown = row.draw_key - 1
    return search
