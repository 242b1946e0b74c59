"""Claim for many requests: in one statement of the driver, or hold by hold where a pool has holds or a rule."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.assignments.cursors import CURSORS
from app.domain.assignments.drawing import Draw
from app.domain.assignments.errors import PoolBusyError, PoolHeldError
from app.domain.assignments.rule import Given
from app.domain.assignments.shortage import find_shortage
from app.domain.holds import service as holds
from app.domain.lifecycle import claim as lifecycle
from app.domain.lifecycle.claim import Claimed
from app.domain.lifecycle.draw_keys import FIRST
from app.domain.lifecycle.requests import AssignmentRequest
from app.domain.lifecycle.statements import Ids
from app.domain.persons.service import MergingError
from app.platform.database import is_conflict, retry_on_conflict, transaction
from app.platform.driver_pool import ProjectConnections
from app.platform.errors import ChangesConflictError, DomainError


@dataclass(slots=True)
class Claimer:
    """Claims and commits, for one process."""

    engine: AsyncEngine
    driver_pool: ProjectConnections
    _ids: Ids = Ids.SINGLE
    """Changes for good with the first claim that gets nothing because customers were merged."""

    async def claim(
        self, pool: str, requests: Sequence[AssignmentRequest], cursor: int | None = None
    ) -> tuple[Given, Exception | None]:
        """Claim and commit: what each request was given, and why the rest got none.

        A pool without holds takes one statement, one more where requests came before, and one more where the walk
        came to its end. All requests ask for the same `valid_for_seconds`. What is committed is given, whatever
        happens to the rest.

        Args:
            pool: its name.
            requests: what is asked for.
            cursor: where the walk begins; where the last one ended, if it is not said.
        """
        if requests and requests[0].valid_for_seconds:
            return await _claim_in_transaction(self.engine, pool, requests)
        cursor = CURSORS.of((self.driver_pool.project_id, pool)) if cursor is None else cursor
        claimed = await _claim_on_driver(self.driver_pool, pool, requests, cursor, self._ids)
        given: Given = {entry.id: entry for entry in claimed.ledger}
        if len(given) == len(requests):
            return given, None
        try:
            more, reason = await self._serve_rest(pool, requests, claimed, whole=cursor == FIRST)
        except Exception as error:  # noqa: BLE001  (whatever it was, what was given anew would be lost to it)
            return given, error
        return given | more, reason

    async def _serve_rest(
        self, pool: str, requests: Sequence[AssignmentRequest], claimed: Claimed, *, whole: bool
    ) -> tuple[Given, Exception | None]:
        """Find what was given before, claim for customers who were merged, and say why others got none.

        Unless the walk was of the `whole` pool, those go on at its beginning where it has any left.
        """
        given: Given = {}
        reason: Exception | None = None
        if claimed.known:
            rows = await lifecycle.replayed_direct(self.driver_pool, pool, claimed.known)
            given |= {entry.id: entry for entry in rows}
        if claimed.merged:
            more, reason = await _claim_in_transaction(self.engine, pool, claimed.merged)
            given |= more
        left = claimed.left(requests)
        if not left:
            return given, reason
        async with transaction(self.engine) as reading:
            found = await find_shortage(reading, pool)
        if found.any_merged and self._ids is Ids.SINGLE:
            self._ids = Ids.ASKED
            more, reason = await self.claim(pool, left)
        elif found.ruled or isinstance(found.error, PoolHeldError):
            more, reason = await _claim_in_transaction(self.engine, pool, left)
        elif isinstance(found.error, PoolBusyError) and not whole:
            more, reason = await self.claim(pool, left, FIRST)
        else:
            return given, found.error
        return given | more, reason


async def _claim_on_driver(
    direct: ProjectConnections, pool: str, requests: Sequence[AssignmentRequest], cursor: int, ids: Ids
) -> Claimed:
    """Claim once, and again after a conflict: to get ready for one each time costs a tenth of the claim's way here."""
    try:
        return await _claim_once(direct, pool, requests, cursor, ids)
    except Exception as error:
        if not is_conflict(error):
            raise
    return await _claim_until_done(direct, pool, requests, cursor, ids)


async def _claim_once(
    direct: ProjectConnections, pool: str, requests: Sequence[AssignmentRequest], cursor: int, ids: Ids
) -> Claimed:
    claimed = await lifecycle.claim_direct(direct, pool, requests, cursor, ids)
    CURSORS.passed((direct.project_id, pool), cursor, claimed.draw_keys)
    return claimed


_claim_until_done = retry_on_conflict(_claim_once)


async def _claim_in_transaction(
    engine: AsyncEngine, pool: str, requests: Sequence[AssignmentRequest]
) -> tuple[Given, DomainError | None]:
    """Claim and commit; requests of customers who are being merged all the while fail by themselves."""
    try:
        return await _claim_of_persons(engine, pool, requests)
    except MergingError as error:
        failed: Given = {
            request.id: ChangesConflictError() for request in requests if request.customer_id in error.ids
        }
        if not failed:  # none of these is told of: nothing is won by another try
            raise
    others = [request for request in requests if request.id not in failed]
    if not others:
        return failed, None
    given, reason = await _claim_in_transaction(engine, pool, others)
    return given | failed, reason


@retry_on_conflict
async def _claim_of_persons(
    engine: AsyncEngine, pool: str, requests: Sequence[AssignmentRequest]
) -> tuple[Given, DomainError | None]:
    async with transaction(engine) as connection:
        return await claim_by_hold(connection, pool, requests)


async def claim_by_hold(
    connection: AsyncConnection, pool: str, requests: Sequence[AssignmentRequest]
) -> tuple[Given, DomainError | None]:
    """Claim for requests that ask for the same `valid_for_seconds`, hold by hold; all without a hold at once.

    Returns:
        What each was given, and why the rest got none.
    """
    campaigns = {request.campaign_id for request in requests}
    if len(campaigns) > 1:
        campaigns &= await holds.campaigns(connection, pool)
    groups: dict[str | None, list[AssignmentRequest]] = {}
    for request in requests:
        campaign_id = request.campaign_id if request.campaign_id in campaigns else None
        groups.setdefault(campaign_id, []).append(request)
    given: Given = {}
    reason: DomainError | None = None
    for campaign_id, group in groups.items():
        draw = Draw(connection, pool, campaign_id, group[0].valid_for_seconds)
        given |= await draw.claim(group)
        reason = draw.shortage or reason
    return given, reason


async def claim_many(
    connection: AsyncConnection, pool: str, requests: Sequence[AssignmentRequest]
) -> tuple[Given, DomainError | None]:
    """Claim for any requests, in as few statements as their wishes and the pool's holds allow.

    Returns:
        What each was given, and why the rest got none.
    """
    groups: dict[int, list[AssignmentRequest]] = {}
    for request in requests:
        groups.setdefault(request.valid_for_seconds, []).append(request)
    given: Given = {}
    reason: DomainError | None = None
    for valid_for, group in groups.items():
        draw = Draw(connection, pool, valid_for=valid_for)
        given |= await draw.claim_free(group)
        shortage = draw.shortage
        if draw.ruled or isinstance(shortage, PoolHeldError):
            left = [request for request in group if request.id not in given]
            more, shortage = await claim_by_hold(connection, pool, left)
            given |= more
        reason = shortage or reason
    return given, reason
