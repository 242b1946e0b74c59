"""A selection over the service's own customers or events that yields a column of codes."""

from collections.abc import Generator

from sqlalchemy import Select, select

from app.domain.imports.sources.rows_as_csv import PARTITION, rows_as_csv
from app.domain.imports.stored import StoredSource
from app.platform.database import sync_engine
from app.platform.settings import Settings
from app.schema.customers import Customer, Event


def fetch(settings: Settings, source: StoredSource) -> Generator[bytes, None, None]:
    """Yield the values of the property, each once."""
    with sync_engine(settings) as engine, engine.connect() as connection:
        result = connection.execution_options(stream_results=True).execute(selection(source))
        yield from rows_as_csv(["code"], result.partitions(PARTITION))


def selection(source: StoredSource) -> Select[tuple[str]]:
    """Return the statement of a selection: the property of those that contain `where`."""
    table: type[Customer | Event] = Event if source["of"] == "events" else Customer
    value = table.properties[source["property"]].astext
    query = select(value.label("code")).where(value.is_not(None)).distinct().order_by(value)
    if source.get("where"):
        query = query.where(table.properties.contains(source["where"]))
    if source.get("event_type") is not None:
        query = query.where(Event.event_type == source["event_type"])
    return query
