"""Each statement that is written out names its project, or is one of the service's own over all of them."""

import importlib
import pkgutil
import re
from collections.abc import Mapping

import psycopg
import pytest
from sqlalchemy import TextClause

import app
from app.domain.lifecycle import statements
from app.domain.lifecycle.statements import Ids, numbered
from app.platform.connections import SESSION
from app.platform.database_url import conninfo
from tests.named import STATEMENTS, TABLES, plan_of, unnamed

CLAIM = {
    **{f"claim {ids} {holds}": statements.claim(ids, holds=holds) for ids in Ids for holds in (False, True)},
    **{f"lock {holds}": statements.lock(holds=holds) for holds in (False, True)},
    **{f"write {holds}": statements.write(holds=holds) for holds in (False, True)},
}
EVERYWHERE = {
    "app.domain.alerts.queries.FAILED_IN",
    "app.domain.alerts.queries.UNTOLD_IN",
    "app.domain.changes.queries.LEFT_IN",
    "app.domain.forecast.queries.KEEP",
    "app.domain.holds.queries.EXPIRED_IN",
    "app.domain.imports.queries.LEFT_IN",
    "app.domain.imports.schedules.queries.DUE_IN",
    "app.domain.vouchers.queries.DUE_IN",
}
"""What only the owner runs, over all projects: what a sweep looks up, and what is as old as a setting says"""
TABLE = re.compile(rf"\b({'|'.join(TABLES)})\b")
INTEGER = 23
"""The type of the project, where a statement leaves it out."""


def texts(value, name):
    """Yield the statements in a value of a module, with their names."""
    if isinstance(value, TextClause):
        yield name, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from texts(each, f"{name}[{key!r}]")
    elif isinstance(value, list | tuple):
        for place, each in enumerate(value):
            yield from texts(each, f"{name}[{place}]")


def written_out():
    """Yield every statement that a module of the application holds."""
    for found in pkgutil.walk_packages(app.__path__, "app."):
        if found.name != "app.__main__":
            for name, value in vars(importlib.import_module(found.name)).items():
                yield from texts(value, f"{found.name}.{name}")
    yield from CLAIM.items()


@pytest.fixture
def service(database_url):
    settings = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
    options = f"{settings} -c role=vouchers_service -c app.project=1"
    with psycopg.connect(conninfo(database_url), options=options, autocommit=True) as connection:
        yield connection


def test_each_statement_names_its_project_or_is_of_all(service):
    unnamed_in = {}
    for name, statement in written_out():
        query = numbered(statement)[0].decode()
        if query.lstrip().startswith(STATEMENTS) and TABLE.search(query):
            unnamed_in[name] = list(unnamed(plan_of(service.cursor(), query, [INTEGER])))
    assert len(unnamed_in) > 100
    assert {name for name, tables in unnamed_in.items() if tables} == EVERYWHERE
