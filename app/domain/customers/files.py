"""Customers from a file: a column of ids, and a column for each property."""

import asyncio
from collections.abc import Iterator
from typing import Protocol
from weakref import WeakKeyDictionary, WeakValueDictionary

from anyio import to_thread
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.customers import queries
from app.domain.customers.schemas import CustomersImported, ImportReject
from app.domain.persons import service as persons
from app.domain.persons.ids import CustomerId
from app.platform.database import retry_on_conflict, transaction
from app.platform.errors import InvalidRequestError
from app.platform.projects import project_of
from app.schema.texts import Properties

BATCH = 100
"""Customers that are locked at a time, for some milliseconds: whoever else changes one of them waits so long."""
PLACES = 2
"""Files of which one process sets customers at a time: others wait for a place, and not with a connection."""
MAX_REJECTS = 1000
ID_COLUMNS = ("customer_id", "id")
"""Names under which the id column is found by itself; otherwise it is the first."""

_id = TypeAdapter[str](CustomerId)
_properties = TypeAdapter(Properties)
_Row = tuple[str, dict[str, str]] | ImportReject
_ROUNDED = "a spreadsheet keeps 15 digits of a number; format the column as text"


class Records(Protocol):
    """A header, and the rows below it with the line in which each begins."""

    @property
    def header(self) -> list[str]:
        """Return the names of the columns."""

    @property
    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows."""

    @property
    def lost(self) -> str:
        """What stands before a number whose last digits a spreadsheet has lost."""

    @property
    def without_value(self) -> tuple[str, ...]:
        """What stands before errors, and before formulas whose value was not saved."""

    def id_in(self, cell: str) -> str | None:
        """Return the id in a cell, without the marks of spreadsheets; None where one has rounded it."""


async def load(engine: AsyncEngine, records: Records, id_column: str | None) -> CustomersImported:
    """Set the properties in a file, a hundred customers at a time. An empty cell sets nothing.

    A customer is held for a moment only, whatever the length of the file; of two files at once each goes on.

    Raises:
        InvalidRequestError: the file has no such column; nothing is set then.
        DomainError: reading on fails; what was read before is set, and the same file sets it again.
    """
    rows = _rows(records, id_column)
    figures = CustomersImported(rows=0, imported=0, rejected=0, rejects=[])
    while batch := await to_thread.run_sync(_next, rows):
        properties: dict[str, dict[str, str]] = {}
        for row in batch:
            figures.rows += 1
            if isinstance(row, ImportReject):
                figures.rejected += 1
                if len(figures.rejects) < MAX_REJECTS:
                    figures.rejects.append(row)
            else:
                figures.imported += 1
                properties.setdefault(row[0], {}).update(row[1])
        if properties:
            await _merge(engine, properties)
    return figures


_places = WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[int, asyncio.Semaphore]]()
"""Of each project that is at it, so that none waits for another's."""


def _places_of(engine: AsyncEngine) -> asyncio.Semaphore:
    of_projects = _places.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    return of_projects.setdefault(project_of(engine), asyncio.Semaphore(PLACES))


@retry_on_conflict
async def _merge(engine: AsyncEngine, properties: dict[str, dict[str, str]]) -> None:
    async with _places_of(engine), transaction(engine) as connection:
        found = await persons.resolve(connection, properties)
        merged: dict[str, dict[str, str]] = {}
        for customer_id, values in properties.items():
            person = found.get(customer_id)
            merged.setdefault(customer_id if person is None else person.id, {}).update(values)
        await queries.merge(connection, dict(sorted(merged.items())))


def _next(rows: Iterator[_Row]) -> list[_Row]:
    return [row for _, row in zip(range(BATCH), rows, strict=False)]


def _rows(records: Records, id_column: str | None) -> Iterator[_Row]:
    place = _place(records.header, id_column)
    for line, cells in records.rows:
        reason = _damage(records, cells)
        yield ImportReject(line=line, reason=reason) if reason else _row(records, line, place, cells)


def _damage(records: Records, cells: list[str]) -> str | None:
    """Return what a spreadsheet has done to cells of a row, if anything."""
    for marks, what in (
        (records.lost, _ROUNDED),
        (records.without_value, "an error, or a formula whose value was not saved"),
    ):
        named = zip(records.header, cells, strict=False)
        damaged = ", ".join(repr(name) for name, cell in named if cell.startswith(marks))
        if damaged:
            return f"{damaged}: {what}"
    return None


def _row(records: Records, line: int, place: int, cells: list[str]) -> _Row:
    header = records.header
    if len(cells) != len(header):
        reason = f"has {len(cells)} cells, the header has {len(header)}"
        return ImportReject(line=line, reason=reason)
    named = dict(zip(header, cells, strict=True))
    customer_id = records.id_in(named.pop(header[place]))
    if customer_id is None:
        return ImportReject(line=line, reason=f"{header[place]!r}: {_ROUNDED}")
    properties = {name: value for name, value in named.items() if value != ""}
    try:
        customer_id = _id.validate_python(customer_id)
    except ValidationError:
        return ImportReject(line=line, reason="the id has 1 to 255 characters, none of them NUL")
    try:
        _properties.validate_python(properties)
    except ValidationError as error:
        return ImportReject(line=line, reason=error.errors()[0]["msg"])
    return customer_id, properties


def _place(header: list[str], id_column: str | None) -> int:
    if len(set(header)) < len(header):
        raise _invalid("Two columns of the file have the same name.")
    if "" in header or not header:
        raise _invalid("The first line of the file must name every column.")
    if id_column is None:
        return next((header.index(name) for name in ID_COLUMNS if name in header), 0)
    if id_column not in header:
        raise _invalid(f"The file has no column {id_column!r}; it has {', '.join(map(repr, header))}.")
    return header.index(id_column)


def _invalid(detail: str) -> InvalidRequestError:
    return InvalidRequestError(detail, [{"loc": ["body", "file"], "msg": detail}])
