"""Codes that this process may try to take next: looked at, not locked, and taken only if they are still there.

Others may take them meanwhile, and then they are not given here. So that this is rare, each process looks from a place
of its own on, apart from where its assigns draw, and forgets soon what it has seen.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from app.domain.lifecycle import draw_keys, picked
from app.domain.lifecycle.requests import AssignmentRequest
from app.platform.database import is_conflict
from app.platform.driver_pool import ProjectConnections
from app.platform.metrics import DRAWN

KEPT_SECONDS = 5.0
AT_A_TIME = 200
PAUSE_SECONDS = 2.0
"""So long a pool is left alone that gave nothing several times: it has holds or a rule."""
MISSES = 3
_MAX_POOLS = 1000


@dataclass(slots=True)
class _Pool:
    cursor: int = field(default_factory=draw_keys.anywhere)
    codes: list[str] = field(default_factory=list)
    """The next one is the last."""
    looked_at: float = 0.0
    shut_until: float = 0.0
    misses: int = 0
    """How often one after another it gave nothing."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Candidates:
    """Of one process."""

    def __init__(self, driver_pool: ProjectConnections) -> None:
        self._driver_pool = driver_pool
        self._pools: OrderedDict[str, _Pool] = OrderedDict()

    async def of(self, name: str, n: int) -> list[str]:
        """Return `n` codes that nobody else in this process is told of; none where there are fewer."""
        pool = self._pools.get(name)
        if pool is None:
            pool = self._pools[name] = _Pool()
            if len(self._pools) > _MAX_POOLS:
                self._pools.popitem(last=False)
        now = time.monotonic()
        if now < pool.shut_until:
            return []
        async with pool.lock:
            if now - pool.looked_at > KEPT_SECONDS or len(pool.codes) < n:
                await self._look(name, pool, max(n, AT_A_TIME))
            if len(pool.codes) < n:
                pool.shut_until = now + PAUSE_SECONDS
                return []
            codes = pool.codes[-n:]
            del pool.codes[-n:]
            return codes

    async def _look(self, name: str, pool: _Pool, n: int) -> None:
        rows = await picked.look(self._driver_pool, name, pool.cursor, n)
        if len(rows) < n:  # round to the beginning
            rows += await picked.look(self._driver_pool, name, draw_keys.FIRST, n - len(rows))
        pool.codes = list({code: None for code, _ in reversed(rows)})
        pool.looked_at = time.monotonic()
        if rows:
            pool.cursor = rows[-1][1]

    async def take(
        self, name: str, requests: Sequence[AssignmentRequest], codes: Sequence[str]
    ) -> dict[UUID, dict[str, str] | None]:
        """Give each request its code, committed; what others were faster with is missing in the result.

        Returns:
            By the id of each request that got its code: what comes with the code.
        """
        try:
            given = await picked.take(self._driver_pool, name, requests, codes)
        except Exception as error:
            if not is_conflict(error):
                raise
            given = {}
        DRAWN.inc(len(given))
        if (pool := self._pools.get(name)) is not None:
            _judge(pool, len(requests), len(given))
        return given


def _judge(pool: _Pool, wanted: int, given: int) -> None:
    """Forget what was looked at where others were faster with it; leave a pool alone that gives nothing."""
    pool.misses = 0 if given else pool.misses + 1
    if given * 2 < wanted:
        pool.codes.clear()
    if pool.misses == MISSES:
        pool.misses = 0
        pool.shut_until = time.monotonic() + PAUSE_SECONDS
