"""PostgreSQL servers between which projects can move: embedded ones, whose log says what changes."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from app.platform.postgres.server import LocalPostgres


@contextmanager
def logical_server() -> Iterator[LocalPostgres]:
    """A server with `wal_level = logical`, and its folder, for the block."""
    home = Path(tempfile.mkdtemp(prefix="vp-"))
    try:
        with LocalPostgres(home) as server:
            administer(server, "ALTER SYSTEM SET wal_level = logical")
        with LocalPostgres(home) as server:
            yield server
    finally:
        shutil.rmtree(home)


def administer(server: LocalPostgres, *statements: str) -> None:
    """Run statements as the administrator of a server."""
    with psycopg.connect(
        host=str(server.home / "run"), port=5432, user="postgres", dbname="vouchers", autocommit=True
    ) as connection:
        for statement in statements:
            connection.execute(statement)
