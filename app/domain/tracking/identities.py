"""Whose a command is, by the ids that it names: `registered`, which is a `customer_id`, and aliases, such as a cookie.

An alias that comes alone stands for a customer of its own, who bears its value as id where nobody does yet. Once it
comes with `registered`, that customer becomes the registered one (`merge`). Whose ids are registered are never merged
by this: an alias that comes with two of them belongs to neither from then on, and who registers under the id of an
anonymous customer is not that one (docs/decisions/0057).
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.persons import service as persons
from app.domain.persons.ids import as_read
from app.domain.persons.schemas import REGISTERED, TrackedId, TrackedRecord
from app.domain.tracking import queries

COOKIE = "cookie"
"""The alias that says least of who somebody is: another one is asked first."""

Ids = Mapping[str, str]
"""The ids of a command, by their names."""


@dataclass(frozen=True, slots=True)
class Identified:
    """Whose commands are, and what is to be remembered of it."""

    customers: list[str]
    """Of each command."""
    new: dict[TrackedId, str]
    """Aliases that were not tracked before, with their customers."""
    shared: dict[TrackedId, str]
    """Aliases that came with two registered customers, with the customers for whom they stand from now on."""
    merges: list[tuple[str, str]]
    """Into whom, and who: customers who turn out to be one. Merge them, then look again."""


async def identify(connection: AsyncConnection, commands: Sequence[Ids]) -> Identified:
    """Tell whose commands are. Registered customers are stored; what else is to be remembered is returned."""
    asked = list(dict.fromkeys(id_ for ids in commands for id_ in _tracked(ids)))
    found = await persons.tracked(connection, asked)
    if borne := [id_ for id_, record in found.items() if record.borne]:
        for id_ in sorted(borne, key=lambda id_: id_.value):
            await persons.give_back(connection, id_.value, own_customer(id_))
        found = await persons.tracked(connection, asked)
    values = {as_read(id_.value) for id_, record in found.items() if record.customer_id is None}
    return _Book(found, await queries.taken(connection, sorted(values)) if values else set()).read(commands)


def own_customer(id_: TrackedId) -> str:
    """Return the customer of an alias whose value is the id of another one, or of all that were put under that id."""
    return f"alias-{uuid.uuid5(uuid.NAMESPACE_OID, f'{id_.name}:{id_.value}')}"


def shared_customer(id_: TrackedId) -> str:
    """Return the customer of an alias that two share: no one whom it stood for before, for that one was merged."""
    return f"alias-{uuid.uuid5(uuid.NAMESPACE_URL, f'{id_.name}:{id_.value}')}"


def _tracked(ids: Ids) -> Iterator[TrackedId]:
    return (TrackedId(name, value) for name, value in ids.items())


class _Book:
    """What is known of the ids while commands are gone through, one after the other."""

    def __init__(self, found: Mapping[TrackedId, TrackedRecord], taken: set[str]) -> None:
        self._customers = {
            id_: record.customer_id
            for id_, record in found.items()
            if record.customer_id is not None and (record.known or id_.name == REGISTERED)
        }
        self._shared = {id_ for id_, record in found.items() if record.shared}
        self._registered = {
            record.customer_id for record in found.values() if record.registered and record.customer_id
        }
        self._taken = taken
        self._new = [id_ for id_, record in found.items() if not record.known and id_.name != REGISTERED]
        self._made: set[str] = set()
        self._newly_shared: dict[TrackedId, str] = {}
        self._merges: dict[str, str] = {}

    def read(self, commands: Sequence[Ids]) -> Identified:
        """Return whose each command is. Those that name a registered one come first, whatever their place."""
        self._registered |= {
            self._customers[TrackedId(REGISTERED, ids[REGISTERED])] for ids in commands if REGISTERED in ids
        }
        customers = [""] * len(commands)
        for place in sorted(range(len(commands)), key=lambda place: REGISTERED not in commands[place]):
            customers[place] = self._whose(commands[place])
        merges = [(self._now(into), of) for of, into in self._merges.items() if of not in self._made]
        new = {id_: self._now(self._customers[id_]) for id_ in self._new}
        return Identified([self._now(customer) for customer in customers], new, self._newly_shared, merges)

    def _whose(self, ids: Ids) -> str:
        aliases = [id_ for id_ in _tracked(ids) if id_.name != REGISTERED]
        named = ids.get(REGISTERED)
        customer = (
            self._by_aliases(aliases) if named is None else self._customers[TrackedId(REGISTERED, named)]
        )
        for id_ in aliases:
            customer = self._now(customer)
            if id_ not in self._customers:
                self._customers[id_] = customer
            elif id_ not in self._shared:
                self._bring_together(id_, customer, named=named is not None)
        return customer

    def _by_aliases(self, aliases: Sequence[TrackedId]) -> str:
        """Return whom aliases stand for: a registered customer before another one, a new one where they are new."""
        known = [
            (self._now(self._customers[id_]), id_.name == COOKIE, id_ in self._shared)
            for id_ in aliases
            if id_ in self._customers
        ]
        usual = sorted(
            (customer not in self._registered, is_cookie, place, customer)
            for place, (customer, is_cookie, shared) in enumerate(known)
            if not shared
        )
        if usual:
            return usual[0][-1]
        first = next((id_ for id_ in aliases if id_ not in self._customers), None)
        if first is None:
            return known[0][0]
        value = as_read(first.value)
        is_free = value not in self._taken | self._made | self._registered
        customer = value if is_free else own_customer(first)
        self._made.add(customer)
        return customer

    def _bring_together(self, id_: TrackedId, customer: str, *, named: bool) -> None:
        other = self._now(self._customers[id_])
        if other == customer:
            return
        if customer in self._made and other not in self._made:
            self._merges[customer] = other  # nothing is kept of it yet
        elif other not in self._registered:
            self._merges[other] = customer
        elif named:
            self._shared.add(id_)
            self._customers[id_] = self._newly_shared[id_] = shared_customer(id_)

    def _now(self, customer: str) -> str:
        """Return into whom a customer was merged while commands were gone through."""
        while customer in self._merges:
            customer = self._merges[customer]
        return customer
