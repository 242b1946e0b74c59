"""A query on a database, by any SQLAlchemy URL whose driver is installed. It reads, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from app.domain.imports.errors import UnreadableError
from app.domain.imports.sources.rows_as_csv import PARTITION, rows_as_csv
from app.domain.imports.sources.storage import inside
from app.platform import outbound
from app.platform.settings import Settings

ALLOWED_PARAMETERS = {"sslmode", "charset", "connect_timeout"}
"""Parameters of a URL that do not change where it leads."""
COMMENTS = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


def fetch(settings: Settings, source: dict[str, Any]) -> Iterator[bytes]:
    """The rows of the query, with its column names as header."""
    query = checked(source["query"])
    engine = _engine(settings, _url(source["url"]))
    try:
        with engine.connect() as connection:
            options = {"stream_results": True, "max_row_buffer": PARTITION, "no_parameters": True}
            if connection.dialect.name == "postgresql":
                options["postgresql_readonly"] = True
            result = connection.execution_options(**options).exec_driver_sql(query)
            yield from rows_as_csv(list(result.keys()), result.partitions(PARTITION))
    finally:
        engine.dispose()


def checked(query: str) -> str:
    """The query, where it is a single SELECT.

    Raises:
        UnreadableError: it is something else.
    """
    bare = COMMENTS.sub(" ", query).strip().rstrip(";").strip()
    if not re.match(r"(select|with|values|table)\b", bare, re.IGNORECASE):
        raise UnreadableError("The query is no SELECT.")
    return query.strip().rstrip(";")


def _url(text: str) -> URL:
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise UnreadableError("The database URL is not valid.") from error
    if url.drivername in {"postgres", "postgresql"}:
        url = url.set(drivername="postgresql+psycopg")
    if strange := set(url.query) - ALLOWED_PARAMETERS:
        raise UnreadableError(f"The database URL may not have the parameter {min(strange)!r}.")
    return url


def _engine(settings: Settings, url: URL) -> Engine:
    """An engine that connects to the address that was checked, and to no other."""
    try:
        if url.get_backend_name() == "sqlite":
            return _sqlite(inside(settings, url.database or ""))
        port = url.port or {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "mssql": 1433}.get(
            url.get_backend_name(), 0
        )
        if not url.host:
            raise UnreadableError("The database URL has no host.")
        address = outbound.check_host(settings, url.host, port)[0]
        if url.drivername == "postgresql+psycopg":
            limit = int(settings.fetch_seconds * 1000)
            arguments = {
                "hostaddr": address,
                "connect_timeout": 10,
                "options": f"-c statement_timeout={limit}",
            }
            return create_engine(url, poolclass=NullPool, connect_args=arguments)
        return create_engine(url.set(host=address), poolclass=NullPool)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise UnreadableError(f"The driver for {url.drivername} is not installed.") from error


def _sqlite(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///file:{path}?mode=ro&uri=true", poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def read_only(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA query_only = ON")
        connection.setlimit(7, 0)  # SQLITE_LIMIT_ATTACHED: no other file

    return engine
