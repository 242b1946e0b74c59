"""A query on a database, by any SQLAlchemy URL whose driver is installed. It reads, and nothing else.

Libpq looks for what is not in the URL in a dozen places; each is named here, so that none is looked for.
"""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import psycopg
from sqlalchemy import URL, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from app.domain.imports.errors import UnreadableError
from app.domain.imports.sources.limits import Limits, Place
from app.domain.imports.sources.local import inside, path_in
from app.domain.imports.sources.rows_as_csv import PARTITION, rows_as_csv
from app.domain.imports.sources.urls import SourceUrl
from app.domain.imports.stored import StoredSource
from app.platform.reachable import check_host

ALLOWED_PARAMETERS = {"sslmode", "charset", "connect_timeout"}
"""Parameters of a URL that do not change where it leads."""
NOWHERE = "/nonexistent"
NO_IDENTITY = {
    "passfile": "/dev/null",
    "sslcert": NOWHERE,
    "sslkey": NOWHERE,
    "gssencmode": "disable",
    "require_auth": "password,md5,scram-sha-256,none",  # no Kerberos ticket of the service
}
"""What keeps libpq from sending what is the service's own."""
SESSION = "-c statement_timeout={} -c timezone=UTC -c datestyle=ISO"
PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "mssql": 1433}
COMMENTS = re.compile(r"--[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)


def fetch(settings: Limits, source: StoredSource) -> Iterator[bytes]:
    """Yield the rows of the query, with its column names as header.

    `source` may tell by `column` which one will hold the codes.
    """
    query = checked(source["query"])
    engine = _engine(settings, url_of(source["url"]))
    try:
        with engine.connect() as connection:
            options = {"stream_results": True, "max_row_buffer": PARTITION, "no_parameters": True}
            if connection.dialect.name == "postgresql":
                options["postgresql_readonly"] = True
            result = connection.execution_options(**options).exec_driver_sql(query)
            header = list(result.keys())
            yield from rows_as_csv(header, result.partitions(PARTITION), source.get("column"))
    finally:
        engine.dispose()


def checked(query: str) -> str:
    """Return the query, where it is a single SELECT.

    Raises:
        UnreadableError: it is something else.
    """
    bare = COMMENTS.sub(" ", query).strip().rstrip(";").lstrip("( \t\r\n")
    if not re.match(r"(select|with|values|table)\b", bare, re.IGNORECASE):
        raise UnreadableError("The query is no SELECT.")
    return query.strip().rstrip(";")


def url_of(text: str) -> URL:
    """Read a URL, where the library that connects reads the same in it as all that was checked and shown.

    Raises:
        UnreadableError: it is none, or is read in two ways.
    """
    try:
        url, read = make_url(text), SourceUrl.parse(text)
    except (ArgumentError, ValueError) as error:
        raise UnreadableError("The database URL is not valid.") from error
    ours = (unquote(read.user or ""), unquote(read.password or ""), read.host, read.port or "")
    theirs = (url.username or "", url.password or "", (url.host or "").lower(), str(url.port or ""))
    if ours != theirs:
        raise UnreadableError("The database URL is not valid: it can be read in two ways.")
    if url.drivername in {"postgres", "postgresql"}:
        url = url.set(drivername="postgresql+psycopg")
    if strange := set(url.query) - ALLOWED_PARAMETERS:
        raise UnreadableError(f"The database URL may not have the parameter {min(strange)!r}.")
    return url


def check(url: URL) -> None:
    """Refuse a URL by which nobody could connect.

    Raises:
        UnreadableError: it names no host, no user, or a driver that is not there.
    """
    if url.get_backend_name() == "sqlite":
        return
    if not url.host:
        raise UnreadableError("The database URL has no host.")
    if not url.username:  # the library would take the name under which the service runs
        raise UnreadableError("The database URL has no user name.")
    try:
        url.get_dialect().import_dbapi()
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise UnreadableError(f"The driver for {url.drivername} is not installed.") from error


def place_of(settings: Limits, url: URL) -> Place | None:
    """Return host and port that a URL leads to; None where it leads to a file in the folder that imports may read.

    Raises:
        UnreadableError: it leads to another file.
    """
    if url.get_backend_name() == "sqlite":
        path_in(settings, url.database or "")
        return None
    return url.host or "", url.port or PORTS.get(url.get_backend_name(), 0)


def _engine(settings: Limits, url: URL) -> Engine:
    """Return an engine that connects to the address that was checked, and to no other."""
    check(url)
    place = place_of(settings, url)
    if place is None:
        return _sqlite(inside(settings, url.database or ""))
    address = check_host(settings, *place)[0]
    if url.drivername == "postgresql+psycopg":
        limit = int(settings.fetch_seconds * 1000)
        arguments = {
            "hostaddr": address,
            "connect_timeout": 10,
            "options": SESSION.format(limit),
            **NO_IDENTITY,
        }
        return _with_plain_times(create_engine(url, poolclass=NullPool, connect_args=arguments))
    return create_engine(url.set(host=address), poolclass=NullPool)


def _sqlite(path: Path) -> Engine:
    # A `?` in the name would end it, and what says that the file is only read.
    name = f"file:{quote(str(path))}"
    url = URL.create("sqlite", database=name, query={"mode": "ro", "uri": "true"})
    engine = create_engine(url, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def read_only(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA query_only = ON")
        connection.setlimit(7, 0)  # SQLITE_LIMIT_ATTACHED: no other file

    return engine


class _Time(psycopg.adapt.Loader):
    """Give times as the server writes them: Python's end with the year 9999, and have no infinity."""

    def load(self, data: psycopg.abc.Buffer) -> str:
        """Return the text; no end is no text."""
        text = bytes(data).decode()
        return "" if text == "infinity" else text


def _with_plain_times(engine: Engine) -> Engine:
    @event.listens_for(engine, "connect")
    def plain(connection: psycopg.Connection, _: object) -> None:
        for name in ("date", "timestamp", "timestamptz"):
            connection.adapters.register_loader(name, _Time)

    return engine
