"""What the messages of a transaction draw from: what they were given before, and what is locked for them."""

import uuid
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assignments import drawing, identity
from app.domain.assignments import service as assignments
from app.domain.assignments.drawing import Draw
from app.domain.assignments.errors import CustomerLimitError, PoolExhaustedError
from app.domain.lifecycle.claim import CustomerRule, Locked
from app.domain.lifecycle.requests import AssignmentRequest, LedgerEntry
from app.domain.pools import service as pools
from app.domain.pools.errors import PoolNotFoundError
from app.domain.rendering import queries
from app.domain.rendering.confined.protocol import Limit, NeedsAsJson, PoolSupply, Seen, UseAsJson
from app.domain.rendering.samples import sample_of
from app.domain.rendering.schemas import MessageTarget, Mode, RenderSpec
from app.domain.vouchers.errors import VoucherVoidError
from app.platform.errors import DomainError

AT_A_TIME = 2500
"""Codes that one statement gives: each statement has to end in time."""
TEST, SEEN = "test ", " seen"
"""Kinds of keys, as the next."""
DEFAULT = "default "
"""Begins the keys of defaults; pool names have no white space."""


@dataclass(slots=True)
class _Pool:
    """One pool, or one key under which places are looked up."""

    draw: Draw
    previewed: list[str] = field(default_factory=list)
    looked_up: int = -1
    counts: dict[str, int] | None = None
    similar: list[str] | None = None
    rule: CustomerRule | None = None
    limits: dict[str, Limit] | None = None
    """By customer, where the pool has a rule: how many more codes each gets, and the last one that each has."""


class MessageVouchers:
    """What one transaction draws, for the messages of one spec to its targets."""

    def __init__(
        self, connection: AsyncConnection, spec: RenderSpec, targets: Sequence[MessageTarget]
    ) -> None:
        self._connection = connection
        self._spec = spec
        self._targets = targets
        self.preview = spec.mode is Mode.PREVIEW
        self._pools: dict[str, _Pool] = {}
        self._drawn_anew: dict[uuid.UUID, uuid.UUID] = {}
        """Of places whose lease has lapsed: the id of the place, and that of its present draw."""
        self._elsewhere: dict[uuid.UUID, uuid.UUID] = {}
        """Of places that were filled under another id of the customer: the id of the place, and the one it had."""
        self._given: dict[uuid.UUID, LedgerEntry | str] = {}
        self.before: list[dict[str, dict[str, str | bool | None]]] = [{} for _ in targets]
        """Of each target, by pool and occurrence: the code given before, None where it no longer holds, false
        where it was voided since."""
        self.seen: list[Seen | None] = [None for _ in targets]
        self.seen_known = False
        self._attributes: dict[str, dict[str, str]] = {}
        """What comes with those codes that bring something."""
        self._standing: dict[tuple[str, str | None, str], LedgerEntry] = {}
        """What customers have of pools with a rule, by pool, customer and code."""

    async def fetch(self, needs: NeedsAsJson) -> None:
        """Get what messages need: look up what they were given, lock what is new, read counts."""
        for key, highest in needs["occurrences"].items():
            await self._look_up(key, highest)
        for pool, seconds in needs.get("valid_for", {}).items():
            self._pool(pool).draw.ask_for_life(seconds)
        for pool, drawn in needs["codes"].items():
            await self._get_codes(pool, drawn)
        for pool in needs["counts"]:
            await self._count(pool)
        if needs.get("seen"):
            await self.look_up_seen()

    def given_of(self, pool: str, of: slice = slice(None)) -> int:  # type: ignore[explicit-any]  # a slice has type parameters
        """Return how many codes of the pool the messages, or some of them, were given before."""
        return sum(len(before.get(pool, ())) for before in self.before[of])

    @property
    def keeps_order(self) -> bool:
        """Return whether who comes first matters: a pool has less than was asked for, or a rule for customers."""
        return any(pool.draw.shortage is not None or pool.limits is not None for pool in self._pools.values())

    def free_of(self, name: str) -> list[str]:
        """Return the codes of a pool that are locked for the messages, or shown in a preview."""
        pool = self._pools[name]
        return pool.previewed or [row.code for row in pool.draw.locked]

    def every_code(self) -> list[str]:
        """Return all codes that the messages may show: those that are free and those that were given before."""
        free = [code for name in self._pools for code in self.free_of(name)]
        given = [row.code for row in self._given.values() if isinstance(row, LedgerEntry)]
        return [*free, *given]

    def as_json(self, codes: Mapping[str, Sequence[str]] | None = None) -> dict[str, PoolSupply]:
        """Return the pools as a render process takes them, with all of their codes or those that are given here."""
        return {
            name: {
                "codes": self.free_of(name) if codes is None else codes.get(name, ()),
                "valid_for": pool.draw.valid_for,
                "short": pool.draw.shortage.name if pool.draw.shortage else None,
                "looked_up": pool.looked_up,
                "counts": pool.counts,
                "similar": pool.similar,
                "limits": pool.limits,
            }
            for name, pool in self._pools.items()
        }

    def identify(self, target: MessageTarget, key: str, occurrence: int) -> uuid.UUID:
        """Return the id of a place in a message: of the voucher, or the default, that stands there."""
        place = self._place(target, target.customer_id, key, occurrence)
        place = self._elsewhere.get(place, place)
        return self._drawn_anew.get(place, place)

    def _place(self, target: MessageTarget, customer_id: str | None, key: str, occurrence: int) -> uuid.UUID:
        if self._spec.mode is Mode.TEST:
            key = TEST + key  # a proof is not the message
        return identity.of_message(target.message_id, customer_id, key, occurrence)

    def _other_places(
        self, targets: Sequence[tuple[MessageTarget, int]], key: str
    ) -> dict[uuid.UUID, list[uuid.UUID]]:
        """Return, by the id of a place, what it may be in the ledger under all ids of its customer."""
        return {
            self._place(target, target.customer_id, key, occurrence): [
                self._place(target, name, key, occurrence) for name in target.names
            ]
            for target, occurrence in targets
            if target.names and not target.is_new
        }

    def _note_elsewhere(
        self, others: Mapping[uuid.UUID, list[uuid.UUID]], found: Container[uuid.UUID]
    ) -> None:
        """Note which of its ids each place has: the first that was filled."""
        for place, candidates in others.items():
            filled = next((each for each in candidates if each in found), place)
            if filled != place:
                self._elsewhere[place] = filled

    def exhausted(self, pool: str, line: int | None) -> DomainError:
        """Return why a pool has no code for a message that asked in this line."""
        shortage = self._pool(pool).draw.shortage
        kind = type(shortage) if isinstance(shortage, PoolExhaustedError) else PoolExhaustedError
        return kind(pool, line=line)

    def limited(self, pool: str, line: int | None) -> DomainError:
        """Return why a customer gets nothing more of a pool."""
        rule = self._pool(pool).rule
        assert rule is not None  # noqa: S101  (narrows the type: it is what limits)
        return CustomerLimitError(pool, rule.count, rule.days, line=line)

    def refused(self, target: MessageTarget, pool: str, occurrence: int) -> DomainError:
        """Return why what was given before does not hold for this message."""
        id_ = self.identify(target, pool, occurrence)
        row = self._given[id_]
        assert isinstance(row, LedgerEntry)  # noqa: S101  (narrows the type: defaults always hold)
        if row.status == "void":
            return VoucherVoidError()
        try:
            self._check(target, row, occurrence)
        except DomainError as error:
            return error
        raise AssertionError("a row that holds was refused")

    async def write(self, uses: Sequence[tuple[int, UseAsJson]]) -> dict[int, list[uuid.UUID]]:
        """Give what the messages show that is new, all of it in one go per pool.

        Pools come in the order of their names, so that two transactions never wait for each other's counts.

        Args:
            uses: the place of a message and `[pool, key, code, occurrence, fresh]`.

        Returns:
            By place: the assignments that were made.
        """
        owner: dict[uuid.UUID, int] = {}
        gifts: dict[str, list[tuple[AssignmentRequest, Locked]]] = defaultdict(list)
        defaults: dict[uuid.UUID, str] = {}
        reserved: set[uuid.UUID] = set()
        again: list[tuple[str, AssignmentRequest, str]] = []
        rows = {row.code: row for pool in self._pools.values() for row in pool.draw.locked}
        for index, (pool, key, code, occurrence, fresh) in uses:
            target = self._targets[index]
            id_ = self.identify(target, key, occurrence)
            if not fresh:
                row = self._given.get(id_) or (
                    None if pool is None else self._standing.get((pool, target.customer_id, code))
                )
                if isinstance(row, LedgerEntry) and row.status == "reserved":
                    reserved.add(row.id)
                elif row is None and pool is not None and code in rows:
                    again.append((pool, self._request(id_, target, occurrence), code))
            elif pool is None:
                defaults[id_] = code
            else:
                gifts[pool].append((self._request(id_, target, occurrence), rows[code]))
            owner[id_] = index
        _take_over(gifts, again, rows)
        if reserved:
            await drawing.confirm_for_message(self._connection, sorted(reserved))
        for pool in sorted(gifts):
            await self._give(pool, gifts[pool])
        if defaults:
            await queries.add_defaults(self._connection, defaults)
        taken: dict[int, list[uuid.UUID]] = defaultdict(list)
        for request, _ in (gift for of_pool in gifts.values() for gift in of_pool):
            taken[owner[request.id]].append(request.id)
        return taken

    async def _give(self, pool: str, gifts: Sequence[tuple[AssignmentRequest, Locked]]) -> None:
        for start in range(0, len(gifts), AT_A_TIME):
            await self._pool(pool).draw.write(gifts[start : start + AT_A_TIME])

    def _request(self, id_: uuid.UUID, target: MessageTarget, occurrence: int) -> AssignmentRequest:
        return AssignmentRequest(
            id_,
            target.customer_id,
            self._spec.campaign_id,
            target.message_id,
            occurrence,
            test=self._spec.mode is Mode.TEST,
        )

    def _pool(self, name: str) -> _Pool:
        if name not in self._pools:
            self._pools[name] = _Pool(Draw(self._connection, name, self._spec.campaign_id))
        return self._pools[name]

    async def _look_up(self, key: str, highest: int) -> None:
        pool = self._pool(key)
        if highest > pool.looked_up:
            await self._read(key, range(pool.looked_up + 1, highest + 1))
            pool.looked_up = highest

    async def _read(self, key: str, occurrences: range) -> None:
        """Read what was given at these occurrences."""
        await self._find_elsewhere(
            [(target, occurrence) for target in self._targets for occurrence in occurrences], key
        )
        places = {
            self.identify(target, key, occurrence): (index, target, occurrence)
            for index, target in enumerate(self._targets)
            if not (target.is_new or self._spec.sample)
            for occurrence in occurrences
        }
        if not places:
            return
        found: dict[uuid.UUID, LedgerEntry | str] = {}
        if key.startswith(DEFAULT):
            found |= await queries.defaults(self._connection, list(places))
        else:
            entries, anew = await assignments.latest(
                self._connection, list(places), released=self._spec.draws_again
            )
            self._drawn_anew |= anew
            found |= entries
        for place, row in found.items():
            index, target, occurrence = places[place]
            self._given[self._drawn_anew.get(place, place)] = row
            if isinstance(row, LedgerEntry):
                self._note(row)
            self.before[index].setdefault(key, {})[str(occurrence)] = self._holds(target, row, occurrence)

    async def _find_elsewhere(self, targets: Sequence[tuple[MessageTarget, int]], key: str) -> None:
        """Find out which places were filled under other ids of their customers."""
        others = self._other_places(targets, key)
        ids = list(dict.fromkeys(each for of_one in others.values() for each in of_one))
        if not ids:
            return
        if key.startswith(DEFAULT):
            self._note_elsewhere(others, await queries.defaults(self._connection, ids))
        elif key == SEEN:
            self._note_elsewhere(others, await queries.seen(self._connection, ids))
        else:
            self._note_elsewhere(others, await assignments.known(self._connection, ids))

    def _holds(self, target: MessageTarget, row: LedgerEntry | str, occurrence: int) -> str | bool | None:
        """Return the code, where the row answers this message."""
        if isinstance(row, str):
            return row
        if row.status == "void":
            return False
        if self._spec.mode is Mode.PREVIEW:
            return row.code if row.released_at is None else None
        try:
            return self._check(target, row, occurrence).code
        except DomainError:
            return None

    def _check(self, target: MessageTarget, row: LedgerEntry, occurrence: int) -> LedgerEntry:
        """Return the row where it answers the message: also when that is sent again by another campaign."""
        request = self._request(row.id, target, occurrence)
        request.campaign_id = row.campaign_id
        return assignments.check_message(request, row)

    async def look_up_seen(self) -> None:
        """Read what the messages saw when they were made before."""
        if self.seen_known:
            return
        self.seen_known = True
        if self._spec.mode is Mode.PREVIEW:
            return
        await self._find_elsewhere([(target, 0) for target in self._targets], SEEN)
        ids = {
            self.identify(target, SEEN, 0): index
            for index, target in enumerate(self._targets)
            if not target.is_new
        }
        if ids:
            for id_, value in (await queries.seen_or_erased(self._connection, list(ids))).items():
                self.seen[ids[id_]] = cast(Seen, value)

    async def write_seen(self, seen: Sequence[Seen | None]) -> None:
        """Store what messages saw; what was stored before is changed."""
        new = []
        for target, before, value in zip(self._targets, self.seen, seen, strict=True):
            if value is None:
                continue
            id_ = self.identify(target, SEEN, 0)
            if before is None:
                new.append({"id": id_, "customer_id": target.customer_id, "seen": value})
            else:
                await queries.change_seen(self._connection, id_, value)
        if new:
            await queries.add_seen(self._connection, new)

    async def _get_codes(self, name: str, wanted: int) -> None:
        pool = self._pool(name)
        if pool.similar is not None or pool.draw.shortage is not None:
            return
        if self._spec.mode is Mode.PREVIEW:
            row = await pool.draw.preview()
            pool.previewed = [] if row is None else [row.code]
            if row is not None and self._spec.sample:
                pool.previewed = [await sample_of(self._connection, row.code)]
            elif row is not None:
                self._note(row)
        elif wanted == 0 and not pool.draw.locked:
            await self._check_pool(name, pool)
        elif wanted > len(pool.draw.locked):
            await pool.draw.lock(wanted)
            await self._look_up_limits(name, pool)
            for row in pool.draw.locked:
                self._note(row)
            if pool.draw.shortage is not None or pool.limits is not None:
                await self._read_again()
        if isinstance(pool.draw.shortage, PoolNotFoundError):
            pool.similar, pool.draw.shortage = pool.draw.shortage.similar, None

    async def _read_again(self) -> None:
        """Read anew what was looked up: what the same message, sent twice at once, was given meanwhile is its own."""
        for key, pool in self._pools.items():
            await self._read(key, range(pool.looked_up + 1))

    async def _look_up_limits(self, name: str, pool: _Pool) -> None:
        """Find out how many codes each customer may still have, where the pool has a rule for that."""
        pool.rule = await pool.draw.rule()
        if pool.rule is None or pool.limits is not None:
            return
        customers = {target.customer_id for target in self._targets if target.customer_id is not None}
        pool.limits = {
            customer: {"left": pool.rule.count, "code": None, "refuse": pool.rule.then == "refuse"}
            for customer in customers
        }
        test = self._spec.mode is Mode.TEST
        for row in await assignments.standing(self._connection, name, customers, pool.rule, test=test):
            if row.customer_id is not None:
                limit = pool.limits[row.customer_id]
                limit["left"] -= 1
                limit["code"] = limit["code"] or row.code
                self._standing[name, row.customer_id, row.code] = row
                self._note(row)

    def _note(self, row: LedgerEntry | Locked) -> None:
        """Note what comes with a code, for the reply."""
        if row.attributes is not None:
            self._attributes[row.code] = row.attributes

    def about(self, code: str) -> dict[str, dict[str, str]]:
        """Return what the reply tells of a code that a message shows, where something comes with it."""
        return {"attributes": self._attributes[code]} if code in self._attributes else {}

    async def _check_pool(self, name: str, pool: _Pool) -> None:
        try:
            await pools.id_of(self._connection, name)
        except PoolNotFoundError as error:
            pool.similar = error.similar

    async def _count(self, name: str) -> None:
        pool = self._pool(name)
        if pool.counts is not None:
            return
        try:
            counts = await pools.drawable(self._connection, name, self._spec.campaign_id)
        except PoolNotFoundError as error:
            pool.similar = error.similar
        else:
            pool.counts = {"available": counts.available, "total": counts.total}


def _take_over(
    gifts: dict[str, list[tuple[AssignmentRequest, Locked]]],
    again: Sequence[tuple[str, AssignmentRequest, str]],
    rows: Mapping[str, Locked],
) -> None:
    """Give a message what another one of the same customer took in this transaction, and then was not sent."""
    taken = {locked.code for gifts_of_pool in gifts.values() for _, locked in gifts_of_pool}
    for pool, request, code in again:
        if code not in taken:
            taken.add(code)
            gifts[pool].append((request, rows[code]))
