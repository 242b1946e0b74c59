"""What the messages of a transaction draw from: what they were given before, and what is locked for them."""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assignments import drawing, identity
from app.domain.assignments import service as assignments
from app.domain.assignments.errors import PoolBusyError, PoolHeldError
from app.domain.holds import service as holds
from app.domain.lifecycle.requests import AssignmentRequest, LedgerEntry
from app.domain.pools import service as pools
from app.domain.pools.errors import PoolNotFoundError
from app.domain.rendering import queries
from app.domain.rendering.schemas import MessageTarget, Mode, RenderSpec
from app.domain.vouchers.errors import VoucherVoidError
from app.platform.database import AnyRow
from app.platform.errors import DomainError

PAUSES = (0.01, 0.05, 0.2, 0.5)
"""Seconds between tries while all that is available is locked by others."""

TEST, SEEN = "test ", " seen"
"""Kinds of keys, as the next."""
DEFAULT = "default "
"""Begins the keys of defaults; pool names have no white space."""


@dataclass(slots=True)
class _Pool:
    """One pool, or one key under which places are looked up."""

    locked: list[AnyRow] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    short: DomainError | None = None
    looked_up: int = -1
    counts: dict[str, int] | None = None
    similar: list[str] | None = None
    allowance: int = 0
    """How many the campaign may take, where the pool has holds."""


class MessageVouchers:
    """Of one transaction, for one letter to its addressees."""

    def __init__(
        self, connection: AsyncConnection, spec: RenderSpec, targets: Sequence[MessageTarget]
    ) -> None:
        self._connection = connection
        self._spec = spec
        self._targets = targets
        self.preview = spec.mode is Mode.PREVIEW
        self._pools: dict[str, _Pool] = defaultdict(_Pool)
        self._given: dict[uuid.UUID, LedgerEntry | str] = {}
        self.before: list[dict[str, dict[str, str | bool | None]]] = [{} for _ in targets]
        """Of each addressee, by pool and occurrence: the code given before, None where it no longer holds, false
        where it was voided since."""
        self.seen: list[dict[str, Any] | None] = [None for _ in targets]
        self.seen_known = False
        self._void: set[str] = set()

    async def fetch(self, needs: Mapping[str, Any]) -> None:
        """Get what messages need: look up what they were given, lock what is new, read counts."""
        for key, highest in needs["occurrences"].items():
            await self._look_up(key, highest)
        for pool, drawn in needs["codes"].items():
            await self._get_codes(pool, drawn)
        for pool in needs["counts"]:
            await self._count(pool)
        if needs.get("seen"):
            await self.look_up_seen()

    def given_of(self, pool: str) -> int:
        """How many codes of the pool the messages were given before."""
        return sum(len(before.get(pool, ())) for before in self.before)

    def as_json(self) -> dict[str, Any]:
        """The pools as a render process takes them."""
        return {
            name: {
                "codes": pool.shown or [row.code for row in pool.locked],
                "short": pool.short.name if pool.short else None,
                "looked_up": pool.looked_up,
                "counts": pool.counts,
                "similar": pool.similar,
            }
            for name, pool in self._pools.items()
        }

    def identify(self, target: MessageTarget, key: str, occurrence: int) -> uuid.UUID:
        """The id of a place in a message: of the voucher, or the default, that stands there."""
        if self._spec.mode is Mode.TEST:
            key = TEST + key  # a proof is not the message
        return identity.of_message(target.message_id, target.customer_id, key, occurrence)

    def refused(self, target: MessageTarget, pool: str, occurrence: int) -> DomainError:
        """Why what was given before does not hold for this message."""
        id_ = self.identify(target, pool, occurrence)
        row = self._given[id_]
        assert isinstance(row, LedgerEntry)  # noqa: S101  (narrows the type: defaults always hold)
        if row.code in self._void:
            return VoucherVoidError()
        try:
            self._check(target, row, occurrence)
        except DomainError as error:
            return error
        raise AssertionError("a row that holds was refused")

    async def write(self, uses: Sequence[tuple[MessageTarget, Sequence[Any]]]) -> None:
        """Give what the messages show that is new, all of it in one go per pool.

        `uses` are `[pool, key, code, occurrence, fresh]`. Pools come in the order of their names, so that two
        transactions never wait for each other's counts.
        """
        gifts: dict[str, list[tuple[AssignmentRequest, AnyRow]]] = defaultdict(list)
        defaults: dict[uuid.UUID, str] = {}
        rows = {row.code: row for pool in self._pools.values() for row in pool.locked}
        for target, (pool, key, code, occurrence, fresh) in uses:
            if fresh:
                id_ = self.identify(target, key, occurrence)
                if pool is None:
                    defaults[id_] = code
                else:
                    gifts[pool].append((self._request(id_, target, occurrence), rows[code]))
        for pool in sorted(gifts):
            await drawing.write(self._connection, pool, gifts[pool], self._pools[pool].allowance)
            if self._pools[pool].allowance:
                await holds.record_draws(self._connection, pool, self._spec.campaign_id, len(gifts[pool]))
        if defaults:
            await queries.add_defaults(self._connection, defaults)

    def _request(self, id_: uuid.UUID, target: MessageTarget, occurrence: int) -> AssignmentRequest:
        return AssignmentRequest(
            id_,
            target.customer_id,
            self._spec.campaign_id,
            target.message_id,
            occurrence,
            test=self._spec.mode is Mode.TEST,
        )

    async def _look_up(self, key: str, highest: int) -> None:
        pool = self._pools[key]
        if highest > pool.looked_up:
            await self._read(key, range(pool.looked_up + 1, highest + 1))
            pool.looked_up = highest

    async def _read(self, key: str, occurrences: range) -> None:
        """Read what was given at these occurrences."""
        places = {
            self.identify(target, key, occurrence): (index, target, occurrence)
            for index, target in enumerate(self._targets)
            if not target.is_new
            for occurrence in occurrences
        }
        if not places:
            return
        look_up = queries.defaults if key.startswith(DEFAULT) else assignments.known
        found: Mapping[uuid.UUID, LedgerEntry | str] = await look_up(self._connection, list(places))
        codes = [row.code for row in found.values() if isinstance(row, LedgerEntry)]
        if codes:
            self._void |= await queries.void(self._connection, codes)
        for id_, row in found.items():
            index, target, occurrence = places[id_]
            self._given[id_] = row
            self.before[index].setdefault(key, {})[str(occurrence)] = self._holds(target, row, occurrence)

    def _holds(self, target: MessageTarget, row: LedgerEntry | str, occurrence: int) -> str | bool | None:
        """The code, where the row answers this message."""
        if isinstance(row, str):
            return row
        if row.code in self._void and row.released_at is None:
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
        return assignments.check_replay(request, row)

    async def look_up_seen(self) -> None:
        """Read what the messages saw when they were made before."""
        if self.seen_known:
            return
        self.seen_known = True
        ids = {
            self.identify(target, SEEN, 0): index
            for index, target in enumerate(self._targets)
            if not target.is_new
        }
        if ids and self._spec.mode is not Mode.PREVIEW:
            for id_, value in (await queries.seen(self._connection, list(ids))).items():
                self.seen[ids[id_]] = value

    async def write_seen(self, seen: Sequence[dict[str, Any] | None]) -> None:
        """Store what messages saw for the first time; None where there is nothing new."""
        new = []
        for target, before, value in zip(self._targets, self.seen, seen, strict=True):
            id_ = self.identify(target, SEEN, 0)
            if value is not None and before is None:
                new.append({"id": id_, "customer_id": target.customer_id, "seen": value})
            elif value is not None:
                await queries.change_seen(self._connection, id_, value)
        if new:
            await queries.add_seen(self._connection, new)

    async def _get_codes(self, name: str, wanted: int) -> None:
        pool = self._pools[name]
        if pool.similar is not None or pool.short is not None:
            return
        if self._spec.mode is Mode.PREVIEW:
            code = await queries.shown(self._connection, name)
            pool.shown = [] if code is None else [code]
            if code is None:
                await self._explain(name, pool)
            return
        if wanted == 0 and not pool.locked:
            await self._check_pool(name, pool)
        if wanted <= len(pool.locked):
            return
        for pause in (*PAUSES, None):
            # Our own locks do not hinder us, so a walk that comes round finds what we hold: ask for all.
            held = {row.code for row in pool.locked}
            rows = await drawing.lock(self._connection, name, wanted, pool.allowance)
            pool.locked += [row for row in rows if row.code not in held]
            del pool.locked[min(wanted, pool.allowance or wanted) :]
            if len(pool.locked) >= wanted:
                return
            await self._explain(name, pool)
            if pause is None or not await self._may_try_again(name, pool, pause):
                break
            pool.short = None
        # The same message sent twice at once: what the other one was given meanwhile is ours as well.
        await self._read(name, range(pool.looked_up + 1))

    async def _may_try_again(self, name: str, pool: _Pool, pause: float) -> bool:
        """Whether another try may find more: after a pause, or with what holds leave to the campaign."""
        if isinstance(pool.short, PoolHeldError) and pool.allowance == 0:
            pool.allowance = await holds.allowance(self._connection, name, self._spec.campaign_id)
            return pool.allowance > 0
        if isinstance(pool.short, PoolBusyError):
            await asyncio.sleep(pause)
            return True
        return False

    async def _check_pool(self, name: str, pool: _Pool) -> None:
        try:
            await pools.id_of(self._connection, name)
        except PoolNotFoundError as error:
            pool.similar = error.extra["similar"]

    async def _explain(self, name: str, pool: _Pool) -> None:
        ours = [row.code for row in pool.locked]
        allowed = max(pool.allowance - len(ours), 0)
        reason = await drawing.shortage_error(self._connection, name, allowed, ours)
        if isinstance(reason, PoolNotFoundError):
            pool.similar = reason.extra["similar"]
        else:
            pool.short = reason

    async def _count(self, name: str) -> None:
        pool = self._pools[name]
        try:
            pool.counts = pool.counts or await pools.counts(self._connection, name)
        except PoolNotFoundError as error:
            pool.similar = error.extra["similar"]
