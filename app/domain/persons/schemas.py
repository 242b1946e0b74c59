"""Persons, as rooms pass them to each other."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """A person with several ids."""

    id: str
    """Under which all is kept."""
    aliases: tuple[str, ...]
    """The other ids, which lead to this one."""

    def names(self, asked: str) -> tuple[str, ...]:
        """Return all ids, the one that was asked for first, then that under which all is kept."""
        return tuple(dict.fromkeys((asked, self.id, *self.aliases)))


@dataclass(frozen=True, slots=True)
class AliasRecord:
    """Whom an id stands for."""

    asked: str
    id: str
    merging: bool
    aliases: list[str]


REGISTERED = "registered"
"""The name of the tracked id that is a `customer_id`; all others are aliases."""


@dataclass(frozen=True, slots=True)
class TrackedId:
    """An id as shops track it: `registered`, `cookie`, …."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class TrackedRecord:
    """What is known of a tracked id."""

    name: str
    value: str
    known: bool
    """Whether it was tracked before."""
    shared: bool
    """Whether it came with two registered customers."""
    customer_id: str | None
    """Whose it is by now; None: an alias that was not tracked before."""
    merging: bool
    """Whether a merge of that customer is marked."""
    registered: bool
    """Whether that customer was ever tracked as registered."""
    borne: bool
    """Whether a registered one comes for the first time, and the id has been an anonymous customer's."""
