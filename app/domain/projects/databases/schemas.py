"""Databases, as others see them."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class DatabaseRecord:
    """A database that projects live in."""

    id: int
    name: str
    url: bytes | None
    """Sealed; None: the control database."""
    draining_since: datetime | None
    projects: int
    """How many live there, by the control database."""


@dataclass(frozen=True, slots=True)
class Address:
    """A further database, and how it is reached."""

    id: int
    name: str
    url: bytes


@dataclass(frozen=True, slots=True)
class Home:
    """A project, and how the database that it lives in is reached."""

    project_id: int
    url: bytes | None
    """Sealed; None: it is the control database."""


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """How a database is right now."""

    version: str | None
    bytes: int
    lag_seconds: float | None
    """By how much the slowest of those that follow it is behind; None: nobody follows."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What tells whether a database may be taken."""

    name: str
    """What its first row calls it: `main` until it was taken under a name."""
    has_keys: bool
    has_vouchers: bool
    projects: list[int]


@dataclass(frozen=True, slots=True)
class ServiceKeys:
    """The keys that are one for the service: rows of `sealing_key` and of `erasure_key`."""

    sealing: list[tuple[bytes, bytes]]
    erasure: list[bytes]
