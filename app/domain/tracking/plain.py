"""Events that say nothing of codes, of customers who are known for sure: stored by one statement, in one message.

All else (a type that is mapped, a customer who is being merged, an event that was stored or erased before, a cookie
that is new) is left to `service.track` and `commands.carry_out`, which ask of each by itself: then nothing is stored
here. Where that happens again and again, few batches are tried.
"""

from collections.abc import Mapping, Sequence

import psycopg
from sqlalchemy import text

from app.domain.customers.events import ERASED, INSERT, NewEvent, parameters_of
from app.domain.lifecycle import uses
from app.domain.lifecycle.statements import numbered
from app.domain.persons.schemas import REGISTERED
from app.domain.tracking.commands import Command, event_ids
from app.domain.tracking.schemas import Tracked, TrackedStatus
from app.platform.database import is_conflict
from app.platform.driver_pool import ProjectConnections

MOST_PASSED = 64
"""Most batches that are not tried after one that was not plain."""

# A mapping that changes waits for the lock that is taken first, so that it finds what was stored beside it. A merge
# marks whom it concerns, and waits for who is at work: so whoever finds no mark here is waited for. OFFSET 0 keeps each
# look-up a look-up, as in the claim: the plan is kept, and may be of a time when the tables were empty.
_LOCK, _ = numbered(uses.SHARED)
_PLAIN = f"""
NOT EXISTS (
    SELECT FROM redemption_mapping WHERE project_id = :project AND event_type = ANY (CAST(:types AS text[]))
) AND NOT EXISTS (
    SELECT FROM unnest(CAST(:given AS text[])) AS given (id)
    WHERE EXISTS (SELECT FROM event WHERE event.project_id = :project AND event.id = given.id OFFSET 0)
        OR {ERASED.format(id="given.id", condition="true")}
)
"""  # noqa: S608  (made of constants)
_PERSON = """coalesce((
    SELECT customer_id FROM customer_alias WHERE project_id = :project AND customer_alias.id = sent.customer_id
), sent.customer_id)"""
_NONE_MERGES = """NOT EXISTS (
    SELECT FROM customer_alias
    WHERE project_id = :project AND customer_alias.id = ANY (CAST(:customers AS text[])) AND merging
)"""
STORE = text(f"""
WITH stored AS (
    {INSERT.format(customer=_PERSON, condition=f"{_PLAIN} AND {_NONE_MERGES}")} RETURNING id
)
SELECT count(*) FROM stored
""")  # noqa: S608  (made of constants)
_OF_PLACE = "(ARRAY(SELECT customer_id FROM whose ORDER BY place))[sent.place]"
# Whose an event is: the person for whom all of its ids stand. A registered one who is new stands for himself, unless
# an anonymous one has borne the id.
STORE_OF_TRACKED = text(f"""
WITH named AS MATERIALIZED (
    SELECT asked.place, asked.name, asked.value, tracked.name IS NULL AS new,
        coalesce(alias.customer_id, known.id) AS customer_id, alias.merging IS NOT TRUE AS still
    FROM unnest(
        CAST(:places AS bigint[]), CAST(:names AS text[]), CAST(:values AS text[])
    ) AS asked (place, name, value)
    LEFT JOIN LATERAL (
        SELECT * FROM tracked_id
        WHERE project_id = :project AND tracked_id.name = asked.name AND tracked_id.value = asked.value OFFSET 0
    ) AS tracked ON true
    CROSS JOIN LATERAL (
        SELECT CASE WHEN NOT tracked.shared THEN tracked.customer_id
            WHEN tracked.name IS NULL AND asked.name = '{REGISTERED}' AND NOT EXISTS (
                SELECT FROM tracked_id AS put
                WHERE put.project_id = :project AND put.customer_id = asked.value OFFSET 0
            ) THEN asked.value END AS id
    ) AS known
    LEFT JOIN LATERAL (
        SELECT * FROM customer_alias WHERE project_id = :project AND customer_alias.id = known.id OFFSET 0
    ) AS alias ON true
), whose AS MATERIALIZED (
    SELECT place, min(customer_id) AS customer_id,
        bool_and(still AND customer_id IS NOT NULL) AND min(customer_id) = max(customer_id) AS sure
    FROM named GROUP BY place
), plain AS MATERIALIZED (
    SELECT WHERE {_PLAIN} AND (SELECT bool_and(sure) FROM whose)
), registered AS (
    INSERT INTO tracked_id (project_id, name, value, customer_id)
    SELECT DISTINCT :project, name, value, value FROM named WHERE new AND EXISTS (SELECT FROM plain) ORDER BY value
    ON CONFLICT (project_id, name, value) DO NOTHING
), stored AS (
    {INSERT.format(customer=_OF_PLACE, condition="EXISTS (SELECT FROM plain)")} RETURNING id
)
SELECT count(*) FROM stored
""")  # noqa: S608  (made of constants)
_STORE, _NAMES = numbered(STORE)
_STORE_OF_TRACKED, _NAMES_OF_TRACKED = numbered(STORE_OF_TRACKED)


class _Tries:
    """Whether a batch is tried: the more of them were not plain, the fewer are."""

    def __init__(self) -> None:
        self.passing = 0
        """Batches that are not tried."""
        self._next = 1

    def is_due(self) -> bool:
        if self.passing:
            self.passing -= 1
            return False
        return True

    def was(self, *, plain: bool) -> bool:
        if plain:
            self._next = 1
        else:
            self.passing, self._next = self._next, min(2 * self._next, MOST_PASSED)
        return plain


class Plain:
    """What one process stores of a project so."""

    def __init__(self, direct: ProjectConnections) -> None:
        self._direct = direct
        self.events, self.commands = _Tries(), _Tries()

    async def store(self, events: Sequence[NewEvent]) -> list[Tracked] | None:
        """Store events where all of them are plain, committed when this returns; else return None, and store none.

        Raises:
            psycopg.OperationalError: the database did not do it, or did not say so.
            OverloadedError: the project's requests had its share of connections for too long.
        """
        if not self.events.is_due():
            return None
        given = [event.event_id for event in events if not event.made]
        by_id = {event.event_id: event for event in events}
        is_plain = len(by_id) == len(events) and await self._stored(
            _STORE, _NAMES, {**parameters_of(by_id), "given": given}
        )
        if not self.events.was(plain=is_plain):
            return None
        return [Tracked(event.event_id, TrackedStatus.ACCEPTED, None) for event in events]

    async def carry_out(self, commands: Sequence[Command]) -> bool:
        """Carry out commands where all are plain events, committed when this returns True; else do nothing.

        Raises:
            psycopg.OperationalError: the database did not do it, or did not say so.
            OverloadedError: the project's requests had its share of connections for too long.
        """
        if any(command.event_type is None for command in commands) or not self.commands.is_due():
            return False
        ids, timeless = event_ids(commands)
        events = {
            id_: NewEvent(id_, "", command.event_type or "", command.properties, command.at)
            for id_, command in zip(ids, commands, strict=True)
        }
        named = [
            (place, name, value)
            for place, command in enumerate(commands, 1)
            for name, value in command.ids.items()
        ]
        places, names, values = map(list, zip(*named, strict=True))
        return self.commands.was(
            plain=len(events) == len(commands)
            and await self._stored(
                _STORE_OF_TRACKED,
                _NAMES_OF_TRACKED,
                {
                    **parameters_of(events),
                    "given": [*ids, *timeless.values()],
                    "places": places,
                    "names": names,
                    "values": values,
                },
            )
        )

    async def _stored(self, statement: bytes, names: Sequence[str], parameters: Mapping[str, object]) -> bool:
        try:
            rows = await self._direct.fetch(statement, [parameters[name] for name in names], first=_LOCK)
        except psycopg.OperationalError as error:
            if is_conflict(error):
                return False
            raise
        except (psycopg.IntegrityError, psycopg.DataError, ValueError):
            return False  # another process was faster to store one of them, or one is odd
        return bool(rows[0][0])
