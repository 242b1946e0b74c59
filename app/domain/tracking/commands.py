"""Commands of trackers, as Exponea's clients send them: on the wire, and carried out.

An event has no id in this protocol. It is known again by its command's id, else by its customer, type, time and
content; without a time, for a day. So what is sent again changes nothing (docs/decisions/0057).
"""

import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.access.scopes import Caller
from app.domain.customers import service as customers
from app.domain.customers.events import NewEvent, erased, recent
from app.domain.customers.schemas import PropertyUpdate
from app.domain.persons import service as persons
from app.domain.tracking import service
from app.domain.tracking.identities import Identified, Ids, identify
from app.domain.tracking.schemas import Tracked, TrackedStatus
from app.domain.tracking.sign_ins import Pairs, SignIns
from app.platform.clock import clock
from app.platform.database import ConflictError, retry_on_conflict, transaction
from app.platform.errors import ChangesConflictError

REMEMBERED_SECONDS = 24 * 3600
"""For how long an event without a time is known again, as a keyed request is."""
_SPACE = "default"
"""The first part of what an event's id is made of: of no meaning, and the same for ever; ids are known by project."""
PATIENCE = 4.0
"""Seconds for which a request goes on trying while its customers are merged; what is begun then is ended."""


@dataclass(frozen=True, slots=True)
class Command:
    """An event to store, or properties to set."""

    ids: Ids
    properties: dict[str, object]
    event_type: str | None
    """None: properties of the customer."""
    at: datetime | None
    command_id: str | None = None


def known_by(command: Command, day: int) -> str:
    """Return the id of an event, which the same command gives again."""
    content: list[object] = [_SPACE, dict(command.ids), command.event_type]
    if command.command_id is not None:
        content.append(command.command_id)
    else:
        content += [day if command.at is None else command.at.timestamp(), command.properties]
    return str(uuid.uuid5(uuid.NAMESPACE_OID, orjson.dumps(content, option=orjson.OPT_SORT_KEYS).decode()))


async def carry_out(
    engine: AsyncEngine, sign_ins: SignIns, caller: Caller | None, commands: Sequence[Command]
) -> list[str | None]:
    """Carry out commands in one transaction; return of each what is wrong with it, None where it was done.

    Customers who turn out to be one are merged before: that is so whatever becomes of the rest.

    Raises:
        ChangesConflictError: others were at work with the same customers for too long; no command was carried out.
        OverloadedError: too many sign in at once; no command was carried out.
    """
    until = time.monotonic() + PATIENCE
    while True:
        merges: Pairs = ()
        with suppress(persons.MergingError):  # somebody else's, which takes its time
            faults, merges = await _in_one(engine, commands)
            if not merges:
                return faults
        if time.monotonic() > until:
            raise ChangesConflictError
        if merges:
            await sign_ins.merge(caller, merges)


@retry_on_conflict
async def _in_one(engine: AsyncEngine, commands: Sequence[Command]) -> tuple[list[str | None], Pairs]:
    """Carry out commands, and return of each what is wrong with it; or who has to be merged before."""
    async with transaction(engine) as connection:
        ids = await _event_ids(connection, commands)
        # What was erased and is sent again says nothing: neither who somebody is, nor that two are one.
        gone = await erased(connection, [id_ for id_ in ids if id_])
        left = [(id_, command) for id_, command in zip(ids, commands, strict=True) if id_ not in gone]
        whose = await identify(connection, [command.ids for _, command in left])
        if whose.merges:  # that who signs in is registered is kept: no other sign-in merges them into anybody
            return [], whose.merges
        faults = iter(await _done(connection, left, whose))
    return [None if id_ in gone else next(faults) for id_ in ids], ()


async def _done(
    connection: AsyncConnection, commands: Sequence[tuple[str, Command]], whose: Identified
) -> list[str | None]:
    """Carry out commands, each with the id of its event; return of each what is wrong with it.

    Raises:
        ConflictError: another transaction was faster: look again.
    """
    events: list[NewEvent] = []
    updates: list[PropertyUpdate] = []
    for customer, (id_, command) in zip(whose.customers, commands, strict=True):
        if command.event_type is None:
            updates.append(PropertyUpdate(customer, command.properties, command.at))
        else:
            events.append(NewEvent(id_, customer, command.event_type, command.properties, command.at))
    tracked = await service.store(connection, events) if events else []
    if any(each.status is TrackedStatus.ERASED for each in tracked):  # only just
        raise ConflictError
    if updates:
        await customers.update_many(connection, updates)
    await persons.add_tracked(connection, whose.new)
    await persons.share_tracked(connection, whose.shared)
    of_each = iter(tracked)
    return [None if command.event_type is None else _fault(command, next(of_each)) for _, command in commands]


def event_ids(commands: Sequence[Command]) -> tuple[list[str], dict[int, str]]:
    """Return the ids of the commands' events, and by place the other one of those without a time: of the day before."""
    today = int(clock.timestamp()) // REMEMBERED_SECONDS
    ids = ["" if command.event_type is None else known_by(command, today) for command in commands]
    timeless = {
        place: known_by(command, today - 1)
        for place, command in enumerate(commands)
        if command.event_type is not None and command.at is None and command.command_id is None
    }
    return ids, timeless


async def _event_ids(connection: AsyncConnection, commands: Sequence[Command]) -> list[str]:
    """Return the ids of the commands' events; of one without a time that came within a day, that one's."""
    ids, timeless = event_ids(commands)
    if timeless:
        before = await recent(connection, list(timeless.values()), REMEMBERED_SECONDS)
        for place, id_ in timeless.items():
            if id_ in before:
                ids[place] = id_
    return ids


def _fault(command: Command, tracked: Tracked) -> str | None:
    """Return what is wrong. Without a command's id the same event is the same: it was another one's by then."""
    if tracked.status is not TrackedStatus.CONFLICT or command.command_id is None:
        return None
    return (
        f"The command {command.command_id!r} came before with another content; nothing of this one is stored."
    )
