"""SQL of projects, and of all that belongs to one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Text, delete, func, literal_column, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.projects.schemas import ProjectRecord
from app.platform import records
from app.schema.access import ApiKey
from app.schema.base import Base
from app.schema.projects import Database, Project, tables_of_projects

_DATABASE: ColumnElement[str] = literal_column(  # as SQL, for what a statement returns of its own rows
    "(SELECT database.name FROM database WHERE database.id = project.database_id)", Text
)
COLUMNS = (
    Project.id,
    Project.name,
    Project.created_at,
    Project.deleting_since,
    Project.database_id,
    _DATABASE.label("database"),
)
JOBS = text(
    "DELETE FROM procrastinate_jobs"
    " WHERE status = 'todo' AND args ->> 'project' = :doomed AND task_name <> :deletion"
)


async def add(connection: AsyncConnection, name: str, database_id: int) -> ProjectRecord | None:
    """Make a project; return None where the name is taken."""
    values = {"name": name, "database_id": database_id}
    query = upsert(Project).values(values).on_conflict_do_nothing().returning(*COLUMNS)
    return records.any_of(await connection.execute(query), ProjectRecord)


async def by_name(connection: AsyncConnection, name: str) -> ProjectRecord | None:
    """Return a project."""
    return records.any_of(
        await connection.execute(select(*COLUMNS).where(Project.name == name)), ProjectRecord
    )


async def lock(connection: AsyncConnection, name: str, *, shared: bool = False) -> ProjectRecord | None:
    """Return a project, locked against other edits, or (shared) against its deletion, until the transaction ends."""
    query = select(*COLUMNS).where(Project.name == name).with_for_update(read=shared)
    return records.any_of(await connection.execute(query), ProjectRecord)


async def list_page(connection: AsyncConnection, name: str | None, limit: int | None) -> list[ProjectRecord]:
    """Return projects by name, from the one behind `name` on."""
    query = select(*COLUMNS).order_by(Project.name).limit(limit)
    if name is not None:
        query = query.where(Project.name > name)
    return records.all_of(await connection.execute(query), ProjectRecord)


async def rename(connection: AsyncConnection, project_id: int, name: str) -> ProjectRecord:
    """Give a project another name."""
    query = update(Project).where(Project.id == project_id).values(name=name).returning(*COLUMNS)
    return records.one_of(await connection.execute(query), ProjectRecord)


async def begin_deletion(connection: AsyncConnection, project_id: int) -> ProjectRecord:
    """Mark a project as being deleted: from then on its keys are not known."""
    query = update(Project).where(Project.id == project_id).values(deleting_since=func.now())
    return records.one_of(await connection.execute(query.returning(*COLUMNS)), ProjectRecord)


@dataclass(frozen=True, slots=True)
class Told:
    """What a further database is told of a project that lives there, and how it is reached."""

    id: int
    name: str
    created_at: datetime
    deleting_since: datetime | None
    database_id: int
    url: bytes | None


async def told(connection: AsyncConnection, project_id: int) -> Told | None:
    """Return what is to be told of a project; None where it is gone."""
    columns = (Project.id, Project.name, Project.created_at, Project.deleting_since, Project.database_id)
    query = select(*columns, Database.url).join(Database, Database.id == Project.database_id)
    return records.any_of(await connection.execute(query.where(Project.id == project_id)), Told)


async def put(connection: AsyncConnection, told: Told) -> None:
    """Store the row of a project in the further database that it lives in; whoever had its name before has another."""
    stale = update(Project).where(Project.name == told.name, Project.id != told.id)
    await connection.execute(stale.values(name=func.concat("project-", Project.id)))
    values = {"name": told.name, "deleting_since": told.deleting_since}
    query = text(
        "INSERT INTO project (id, name, created_at, deleting_since) OVERRIDING SYSTEM VALUE"
        " VALUES (:id, :name, :created_at, :deleting_since) ON CONFLICT (id) DO UPDATE"
        " SET name = excluded.name, deleting_since = excluded.deleting_since"
    )
    await connection.execute(query, values | {"id": told.id, "created_at": told.created_at})


async def is_there(connection: AsyncConnection, project_id: int) -> bool:
    """Tell whether a database has the row of a project."""
    return (await connection.execute(select(Project.id).where(Project.id == project_id))).first() is not None


async def is_deleting(connection: AsyncConnection, project_id: int) -> bool:
    """Tell whether a project is marked as being deleted in this database."""
    query = select(Project.id).where(Project.id == project_id, Project.deleting_since.is_not(None))
    return (await connection.execute(query)).first() is not None


async def stands(connection: AsyncConnection, project_id: int) -> bool:
    """Tell whether a project is there and nobody asked to delete it."""
    query = select(Project.id).where(Project.id == project_id, Project.deleting_since.is_(None))
    return (await connection.execute(query)).first() is not None


async def forget_jobs(connection: AsyncConnection, project_id: int, deletion: str) -> None:
    """Delete the jobs of a project that wait, but for those that delete projects."""
    await connection.execute(JOBS, {"doomed": str(project_id), "deletion": deletion})


def tables() -> list[str]:
    """Return the tables whose rows belong to a project, those that refer to others first."""
    return tables_of_projects()[::-1]


async def delete_some(
    connection: AsyncConnection, name: str, project_id: int, after: Sequence[object] | None, rows: int
) -> Sequence[object] | None:
    """Delete so many rows of a table in the order of their key; return the key of the last, None after the end.

    Going on behind the last key is what keeps this linear: who began anew each time would pass all that is deleted and
    not yet cleaned up.
    """
    table = Base.metadata.tables[name]
    key = list(table.primary_key.columns)
    query = select(*key).where(table.c.project_id == project_id).order_by(*key).limit(rows)
    if after is not None:
        query = query.where(tuple_(*key) > tuple(after))
    found = (await connection.execute(query)).all()
    if found:
        last = tuple_(*key) <= tuple(found[-1])
        which = delete(table).where(table.c.project_id == project_id, last)
        await connection.execute(which if after is None else which.where(tuple_(*key) > tuple(after)))
    return found[-1] if len(found) == rows else None


async def any_left(connection: AsyncConnection, project_id: int) -> bool:
    """Tell whether any table still has rows of a project."""
    for name in tables():
        belongs = Base.metadata.tables[name].c.project_id
        query = select(belongs).where(belongs == project_id).limit(1)
        if (await connection.execute(query)).first() is not None:
            return True
    return False


async def remove(connection: AsyncConnection, project_id: int) -> None:
    """Delete the keys of a project, and the project."""
    await connection.execute(delete(ApiKey).where(ApiKey.project_id == project_id))
    await connection.execute(delete(Project).where(Project.id == project_id))


async def seconds_deleting(connection: AsyncConnection, project_id: int) -> float | None:
    """Return for how long a project has been marked as being deleted; None where it is gone."""
    age = func.extract("epoch", func.now() - Project.deleting_since)
    found = (await connection.execute(select(age).where(Project.id == project_id))).scalar_one_or_none()
    return None if found is None else float(found)
