"""Statements that leave their project to row-level security: PostgreSQL's plans tell them.

The service's role sees each table of projects behind the policy's own condition. A statement that names its project
has the parameter in its place, and asks only once whether the two agree.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import greenlet
import psycopg
import pytest
from psycopg.adapt import PyFormat, Transformer
from sqlalchemy import Connection, Engine, event

from app.platform import connections
from app.platform.connections import LimitedSyncConnection
from app.platform.projects import OPTION
from app.schema.projects import tables_of_projects

TABLES = frozenset(tables_of_projects())
STATEMENTS = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")
CONDITIONS = (
    "Index Cond", "Recheck Cond", "TID Cond", "Filter", "Join Filter", "Hash Cond", "Merge Cond",
)  # fmt: skip
BY_DEFAULT = "NULLIF(current_setting('app.project'"
POLICY = r"\(InitPlan \d+\)\.col1"
APP, TESTS = (f"{Path(__file__).parents[1] / name}/" for name in ("app", "tests"))
Plan = dict[str, Any]
NUMBERS = count(1)


def unnamed(plan: Plan, above: tuple[Plan, ...] = ()) -> Iterator[str]:
    """Yield the tables of projects that a plan reads, changes or fills without a project that the statement names.

    Args:
        plan: of `EXPLAIN (VERBOSE, FORMAT json)`, for the service's role.
        above: the nodes that it is under.
    """
    is_change = plan["Node Type"] == "ModifyTable"
    if plan.get("Relation Name") in TABLES and not is_change and not _is_named(plan, above):
        yield plan["Relation Name"]
    if is_change and any(BY_DEFAULT in value for below in plan["Plans"] for value in below.get("Output", ())):
        yield f"{plan['Relation Name']}, by default"
    for below in plan.get("Plans", ()):
        yield from unnamed(below, (*above, plan))


def _is_named(scan: Plan, above: Sequence[Plan]) -> bool:
    """Tell whether the rows of a scan are of a project that is said by anything but the policy.

    A pool's number, looked up by the statement, or a row's place says it too.
    """
    alias = re.escape(scan["Alias"])
    conditions = " ".join(str(node.get(kind, "")) for node in (scan, *above) for kind in CONDITIONS)
    if re.search(rf"{alias}\.(ctid|pool_id( \+ 0\))?) = (ANY \()?{POLICY}", conditions):
        return True
    column, other = rf"{alias}\.project_id", rf"({POLICY}|[^() ]+|\([^()]*\))"
    said = {
        *re.findall(rf"{column} = {other}", conditions),
        *re.findall(rf"{other} = {column}\b", conditions),
    }
    agreed = " ".join(str(node.get("One-Time Filter", "")) for node in (scan, *above))
    for policy in [value for value in said if re.fullmatch(POLICY, value)]:
        said |= {*re.findall(rf"{re.escape(policy)} = {other}", agreed)}
        said |= {*re.findall(rf"{other} = {re.escape(policy)}", agreed)}
    return any(not re.fullmatch(POLICY, value) for value in said)


def numbered(statement: str, values: Any, session: Any) -> tuple[str, tuple[int, ...]]:
    """Return a statement of the driver with PostgreSQL's own `$1`, and the types of its parameters."""
    if not values:
        return statement, ()
    if not isinstance(values, Mapping):
        values = {f"p{number}": value for number, value in enumerate(values)}
        places = iter(values)
        statement = re.sub(r"%s", lambda _: f"%({next(places)})s", statement)
    names = list(dict.fromkeys(re.findall(r"%\(([^()]+)\)[sbt]", statement)))
    adapter = Transformer(session)
    adapter.dump_sequence([values[name] for name in names], [PyFormat.AUTO] * len(names))
    query = re.sub(r"%\(([^()]+)\)[sbt]", lambda found: f"${names.index(found[1]) + 1}", statement)
    return query.replace("%%", "%"), adapter.types or ()


def plan_of(cursor: Any, query: str, types: Sequence[int] = ()) -> Plan:
    """Return how PostgreSQL would run a statement, whatever its parameters are; nothing is left behind."""
    kinds = []
    for oid in types:
        cursor.execute(f"SELECT CASE {oid} WHEN 0 THEN 'unknown' ELSE {oid}::regtype::text END")
        ((kind,),) = cursor.fetchall()
        kinds.append(kind)
    name = f"looked_{next(NUMBERS)}"
    cursor.execute(f"PREPARE {name} {_list(kinds)} AS {query}")
    cursor.execute(f"SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = '{name}'")
    ((n,),) = cursor.fetchall()
    cursor.execute(f"EXPLAIN (VERBOSE, FORMAT json) EXECUTE {name} {_list(['NULL'] * n)}")
    (([explained],),) = cursor.fetchall()
    cursor.execute(f"DEALLOCATE {name}")
    return explained["Plan"]


def _list(items: Sequence[str]) -> str:
    return f"({', '.join(items)})" if items else ""


class Watch:
    """Looks once at each statement that the application runs in a project."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._seen: set[tuple[str, tuple[int, ...]]] = set()
        self._run: set[tuple[object, ...]] = set()
        """Statements of the application, with the kinds of their values, as they were run: most are run often."""

    def look(self, statement: str, values: Any, session: Any, cursor: Callable[[], Any]) -> None:
        """Note what a statement of the driver leaves to the policy.

        Args:
            statement: with its places.
            values: of its parameters.
            session: the driver's connection that it is about to run on.
            cursor: opens one there.
        """
        run = (statement, *map(type, values.values() if isinstance(values, Mapping) else values or ()))
        if run in self._run or not statement.lstrip().startswith(STATEMENTS) or not _is_of_app():
            return
        self._run.add(run)
        query, types = numbered(statement, values, session)
        if (query, types) not in self._seen:
            self._seen.add((query, types))
            self.found += [f"{table}: {query}" for table in unnamed(plan_of(cursor(), query, types))]

    def before_cursor_execute(
        self, connection: Connection, _: object, statement: str, values: Any, __: object, many: bool
    ) -> None:
        """Look at a statement of SQLAlchemy's."""
        if connection.get_execution_options().get(OPTION):
            session: Any = connection.connection.dbapi_connection
            driver = getattr(session, "driver_connection", session)
            self.look(statement, values[0] if many else values, driver, session.cursor)


def _is_of_app() -> bool:
    """Tell whether a statement comes from the application, and not from a test."""
    frame: FrameType | None = sys._getframe()
    thread = greenlet.getcurrent()
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith((APP, TESTS)) and name != __file__:
            return name.startswith(APP)
        frame = frame.f_back
        if frame is None and thread.parent is not None:
            thread = thread.parent
            frame = thread.gr_frame
    return False


@contextmanager
def watching() -> Iterator[Watch]:
    """Look at the statements of all engines, and of the driver's connections for threads, in the block."""
    watch = Watch()

    class Watched(connections._NamingCursor):
        def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            session = self.connection
            if isinstance(session, LimitedSyncConnection) and session.project is not None:
                statement = query.decode() if isinstance(query, bytes) else query
                if isinstance(statement, str):
                    values = (
                        {**params, connections.PARAMETER: session.project}
                        if isinstance(params, Mapping)
                        else params
                    )
                    watch.look(statement, values, session, lambda: psycopg.Cursor(session))
            return super().execute(query, params, **options)

    event.listen(Engine, "before_cursor_execute", watch.before_cursor_execute)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "_NamingCursor", Watched)
        yield watch
    event.remove(Engine, "before_cursor_execute", watch.before_cursor_execute)
