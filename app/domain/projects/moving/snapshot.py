"""Which transactions a snapshot of the source sees."""

from dataclasses import dataclass
from typing import Self

from app.domain.projects.moving.tables import Connection

_CYCLE = 2**32
"""Replication tells the lower half of a transaction's number."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Transactions that had not ended."""

    next: int
    under_way: frozenset[int]

    @classmethod
    def of(cls, connection: Connection) -> Self:
        """Return the snapshot of the transaction that is open."""
        row = connection.execute("SELECT pg_current_snapshot()::text").fetchone()
        assert row is not None  # noqa: S101  (a function)
        _, upto, listed = row[0].split(":")
        return cls(int(upto) % _CYCLE, frozenset(int(xid) % _CYCLE for xid in listed.split(",") if xid))

    def sees(self, xid: int) -> bool:
        """Tell whether what a transaction did, that has committed, is seen."""
        return (xid - self.next) % _CYCLE >= _CYCLE // 2 and xid not in self.under_way
