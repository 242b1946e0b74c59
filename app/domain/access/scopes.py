"""Scopes, and who is calling."""

import uuid
from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a key may do."""

    ADMIN = "admin"
    """Everything."""
    POOLS = "pools"
    """Pools, imports, vouchers, exports, alerts."""
    ASSIGN = "assign"
    """Assign, release, render, counts."""
    EVENTS = "events"
    """Events and customers."""
    READ = "read"
    """Lists and counts, with codes masked."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The key that a request came with."""

    key_id: uuid.UUID
    name: str
    scopes: frozenset[Scope]

    def may(self, *scopes: Scope) -> bool:
        """Whether any of `scopes` is held; `admin` holds them all."""
        return Scope.ADMIN in self.scopes or not self.scopes.isdisjoint(scopes)

    def shown(self, code: str) -> str:
        """The code as this caller may see it: a key that may only read sees its first two characters."""
        if self.may(Scope.POOLS, Scope.ASSIGN, Scope.EVENTS):
            return code
        return code[:2] + "*" * 6
