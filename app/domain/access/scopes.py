"""Scopes, and who is calling."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.platform.databases import MAIN, Place
from app.platform.projects import DEFAULT

SHOWN_CHARACTERS = 2
MASK = "*" * 6


class Scope(StrEnum):
    """What a key may do. The table of what each reaches is in docs/security.md."""

    OPERATOR = "operator"
    """Projects and their keys, and nothing inside a project."""
    ADMIN = "admin"
    """All of its project."""
    POOLS = "pools"
    """Pools, imports, vouchers, exports, alerts."""
    ASSIGN = "assign"
    """Assign, release, render, counts."""
    EVENTS = "events"
    """Events and customers."""
    READ = "read"
    """Lists and counts, with codes masked."""


OF_METRICS = (Scope.READ, Scope.POOLS, Scope.OPERATOR)
"""One of them is needed for `/metrics`."""

OF_CODES = (Scope.POOLS, Scope.ASSIGN, Scope.EVENTS)
"""One of them is needed to be shown codes whole."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The key that a request came with."""

    key_id: uuid.UUID
    name: str
    scopes: frozenset[Scope]
    project_id: int
    """The project that the key belongs to: all that it does, it does there."""
    project: str
    """Its name."""
    requests_per_minute: int | None = None
    """Most requests that it may send; None: no bound."""
    database_id: int = MAIN
    """The database that the project lives in."""

    @property
    def place(self) -> Place:
        """Return where the project is: what a process holds for it, it holds under this."""
        return self.database_id, self.project_id

    def may(self, *scopes: Scope) -> bool:
        """Tell whether any of `scopes` is held; `admin` holds all but `operator`."""
        if not self.scopes.isdisjoint(scopes):
            return True
        return Scope.ADMIN in self.scopes and any(scope is not Scope.OPERATOR for scope in scopes)

    @property
    def sees_service(self) -> bool:
        """Tell whether this caller is told in `/metrics` what the service does for all projects together."""
        return self.project_id == DEFAULT or self.may(Scope.OPERATOR)

    @property
    def sees_codes(self) -> bool:
        """Tell whether codes are shown to this caller whole."""
        return self.may(*OF_CODES)

    def shown(self, code: str) -> str:
        """Return the code as this caller may see it: masked for a key that may only read."""
        return code if self.sees_codes else masked(code)

    def shown_attributes(self, attributes: Mapping[str, str] | None) -> dict[str, str] | None:
        """Return what comes with a code as this caller may see it: a PIN is as secret as the code."""
        if attributes is None or self.sees_codes:
            return None if attributes is None else dict(attributes)
        return dict.fromkeys(attributes, MASK)


def masked(code: str) -> str:
    """Return at most two characters of a code, and never more than a third of it."""
    return code[: min(SHOWN_CHARACTERS, len(code) // 3)] + MASK
