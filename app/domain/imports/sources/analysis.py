"""A selection over the project's own customers or events that yields a column of codes."""

import difflib
from collections.abc import Generator, Iterable, Iterator, Sequence

from sqlalchemy import ColumnElement, Connection, Row, Select, exists, func, select

from app.domain.imports.errors import UnreadableError
from app.domain.imports.reader.marks import NOT_TEXT
from app.domain.imports.sources.rows_as_csv import PARTITION, rows_as_csv
from app.domain.imports.stored import StoredSource
from app.platform.engines import sync_engine
from app.platform.settings import Settings
from app.schema.customers import Customer, Event

LOOKED_THROUGH = 5000
"""Customers or events that are looked through for names like one that is not there."""
OF_JSON = {"number": "numbers", "boolean": "true or false", "array": "lists", "object": "objects"}


def fetch(settings: Settings, source: StoredSource, project: int) -> Generator[bytes, None, None]:
    """Yield the values of the property, each once. What is no text becomes a reject: no event could redeem it.

    Raises:
        UnreadableError: no value is a text, or nobody has such a property.
    """
    kinds: dict[str, int] = {}
    with sync_engine(settings, project) as engine, engine.connect() as connection:
        result = connection.execution_options(stream_results=True).execute(selection(source))
        yield from rows_as_csv(
            ["code"],
            (_marked(rows, kinds) for rows in result.partitions(PARTITION)),
        )
        if not kinds:
            _check_names(connection, source)
    if kinds and "string" not in kinds:
        held = ", ".join(f"{OF_JSON.get(kind, kind)} ({n})" for kind, n in sorted(kinds.items()))
        raise UnreadableError(
            f"The property {source['property']!r} holds {held}, and no text; only texts are codes, for events redeem"
            " nothing else."
        )


def selection(source: StoredSource) -> Select[str, str]:
    """Return the statement of a selection: the property of those that contain `where`, with its kind in JSON."""
    table = _table(source)
    value = table.properties[source["property"]]
    kind = func.jsonb_typeof(value)
    query = (
        select(kind, value.astext).where(value.astext.is_not(None)).distinct().order_by(value.astext, kind)
    )
    if source.get("where"):
        query = query.where(table.properties.contains(source["where"]))
    if source.get("event_type") is not None:
        query = query.where(Event.event_type == source["event_type"])
    return query


def _table(source: StoredSource) -> type[Customer | Event]:
    return Event if source["of"] == "events" else Customer


def _marked(rows: Iterable[Row[str, str]], kinds: dict[str, int]) -> Iterator[list[str]]:
    for kind, text in rows:
        kinds[kind] = kinds.get(kind, 0) + 1
        yield [text if kind == "string" else NOT_TEXT + text]


def _check_names(connection: Connection, source: StoredSource) -> None:
    """Tell what is misspelt where nothing was found.

    Raises:
        UnreadableError: the type of events, the property or one that is asked for is nowhere.
    """
    table, event_type = _table(source), source.get("event_type")
    things = "customer" if table is Customer else "event"
    if event_type is not None and not _is_there(connection, Event, Event.event_type == event_type):
        known = select(Event.event_type).limit(LOOKED_THROUGH).subquery()
        names = connection.execute(select(known.c.event_type).distinct()).scalars().all()
        raise UnreadableError(f"There is no event of the type {event_type!r}{_nearest(event_type, names)}.")
    for name in (source["property"], *(source.get("where") or {})):
        if not _is_there(connection, table, func.jsonb_exists(table.properties, name)):
            some = select(table.properties).limit(LOOKED_THROUGH).subquery()
            keys = connection.execute(select(func.jsonb_object_keys(some.c.properties)).distinct())
            raise UnreadableError(
                f"No {things} has a property {name!r}{_nearest(name, keys.scalars().all())}."
            )


def _is_there(connection: Connection, table: type[Customer | Event], condition: ColumnElement[bool]) -> bool:
    return bool(connection.execute(select(exists(select(table.id).where(condition)))).scalar_one())


def _nearest(name: str, names: Sequence[str]) -> str:
    by_lower = {known.lower(): known for known in names}
    alike = [by_lower[found] for found in difflib.get_close_matches(name.lower(), by_lower)]
    return f"; similar: {', '.join(map(repr, alike))}" if alike else ""
