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
