"""Each statement names its project by a parameter, which nobody who runs one has to pass.

Whoever runs a statement on an engine of a project (`projects.of_project`) has its number as the parameter `:project`.
SQL that is written out compares `project_id` with it for each table of projects; to what SQLAlchemy makes it is added
here, table by table: to reads and changes as a condition, to rows that are inserted as their column's default. Without
row-level security, too, such a statement keeps to its project.

A statement of the service itself (`projects.everywhere`) has no such parameter: one that names a project fails there.
"""

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

from sqlalchemy import (
    CompoundSelect,
    Connection,
    Delete,
    Executable,
    Integer,
    Select,
    Update,
    bindparam,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, with_loader_criteria

from app.platform.connections import PARAMETER
from app.platform.projects import OPTION

CURRENT: LiteralString = "coalesce(nullif(current_setting('app.project', true), '')::integer, 1)"
"""SQL: the project of the transaction; `default` where none is set, which only the owner of the tables may leave so."""
PROJECT = bindparam(PARAMETER, type_=Integer)
"""The project, where a statement that SQLAlchemy makes has to say it by itself."""


class OfProject:
    """Makes the rows of a table belong to a project."""

    project_id: Mapped[int] = mapped_column(
        Integer,
        primary_key=True,
        autoincrement=False,
        sort_order=-1,
        default=PROJECT,
        server_default=text(CURRENT),
    )


_OF_ITS_PROJECT = with_loader_criteria(
    OfProject,
    lambda table: table.project_id == PROJECT,
    include_aliases=True,
    track_closure_variables=False,
)


def name_project(  # type: ignore[explicit-any]  # values of parameters
    _: Connection,
    statement: Executable,
    many: Sequence[Mapping[str, Any]],
    one: Mapping[str, Any],
    options: Mapping[str, Any],
) -> tuple[Executable, Sequence[Mapping[str, Any]], Mapping[str, Any]]:
    """Give a statement that is about to run the project of its engine, where that is of one."""
    project = options.get(OPTION)
    if not project:
        return statement, many, one
    if isinstance(statement, Select | CompoundSelect | Update | Delete):
        statement = statement.options(_OF_ITS_PROJECT)
    if many:
        return statement, [{**values, PARAMETER: project} for values in many], one
    return statement, many, {**one, PARAMETER: project}
