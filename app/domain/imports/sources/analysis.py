"""A selection over the service's own customers or events that yields a column of codes."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import NullPool, Select, create_engine, select

from app.domain.imports.sources.rows_as_csv import PARTITION, rows_as_csv
from app.platform.database import SERVER_OPTIONS
from app.platform.settings import Settings
from app.schema.customers import Customer, Event


def fetch(settings: Settings, source: dict[str, Any]) -> Iterator[bytes]:
    """The values of the property, each once."""
    engine = create_engine(
        settings.sqlalchemy_url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"options": SERVER_OPTIONS, "connect_timeout": 5},
    )
    try:
        with engine.connect() as connection:
            result = connection.execution_options(stream_results=True).execute(selection(source))
            yield from rows_as_csv(["code"], result.partitions(PARTITION))
    finally:
        engine.dispose()


def selection(source: dict[str, Any]) -> Select[tuple[str]]:
    """The statement of a selection: the property of those that contain `where`."""
    table: type[Customer | Event] = Event if source["of"] == "events" else Customer
    value = table.properties[source["property"]].astext
    query = select(value.label("code")).where(value.is_not(None)).distinct().order_by(value)
    if source.get("where"):
        query = query.where(table.properties.contains(source["where"]))
    if source.get("event_type") is not None:
        query = query.where(Event.event_type == source["event_type"])
    return query
