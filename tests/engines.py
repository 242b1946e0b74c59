"""Engines of one test run learn from each other: nearly each test makes some of its own.

Every engine asks its server what that can do, and compiles each statement for itself: a tenth of a test's time. All
engines of the application talk to one kind of server here, in one dialect.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg as Dialect
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.platform import engines


@contextmanager
def learning() -> Iterator[None]:
    """Let the engines of the block share what they compiled and what they were told."""
    statements: dict[object, object] = {}

    def create(url: str, *, execution_options: dict[str, object], **options: Any) -> AsyncEngine:
        more = {**execution_options, "compiled_cache": statements}
        return create_async_engine(url, execution_options=more, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "create_async_engine", create)
        patch.setattr(Dialect, "__eq__", lambda one, other: type(one) is type(other))
        patch.setattr(Dialect, "__hash__", lambda one: hash(type(one)))
        patch.setattr(Dialect, "initialize", _asked_once(Dialect.initialize))
        yield


def _asked_once(ask: Callable[[Dialect, Connection], None]) -> Callable[[Dialect, Connection], None]:
    told: dict[str, Any] = {}

    def initialize(dialect: Dialect, connection: Connection) -> None:
        if not told:
            before = dict(vars(dialect))
            ask(dialect, connection)
            told.update(
                {name: value for name, value in vars(dialect).items() if before.get(name) is not value}
            )
        vars(dialect).update(told)

    return initialize
