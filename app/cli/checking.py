"""`vouchers check`: project by project, each in a snapshot of its own, in the database that it lives in."""

from psycopg import Error as PsycopgError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.lifecycle.check import violations
from app.domain.projects.databases import service as databases
from app.platform.database import ONLY_READS, transaction
from app.platform.databases import MAIN, unsealed
from app.platform.engines import create_long_engine
from app.platform.errors import DomainError
from app.platform.projects import everywhere, of_project
from app.platform.settings import Settings
from app.schema.projects import Project

AGREE = "All counts agree with the rows, no code is assigned twice, every assignment is in the ledger."
"""What `vouchers check` says of books that are in order."""


async def violations_of_all(settings: Settings) -> list[str]:
    """Return the invariants that are broken, each with its project, how often, and an example.

    A database that does not answer counts as broken: nothing is known of its projects.
    """
    engine = create_long_engine(settings)
    try:
        async with transaction(everywhere(engine)) as connection:
            rows = await databases.list_all(connection)
            projects = {row.id: await _projects(connection, row.id) for row in rows}
        broken = await _violations(engine, projects[MAIN])
    finally:
        await engine.dispose()
    for row in rows:
        if row.id != MAIN:
            broken += await _of_further(settings, row.name, row.url, projects[row.id])
    return broken


async def _projects(connection: AsyncConnection, database_id: int) -> list[tuple[int, str]]:
    """Return id and name of each project that lives in a database."""
    query = select(Project.id, Project.name).where(Project.database_id == database_id).order_by(Project.id)
    return [(row.id, row.name) for row in await connection.execute(query)]


async def _of_further(
    settings: Settings, name: str, sealed: bytes | None, projects: list[tuple[int, str]]
) -> list[str]:
    try:
        engine = create_long_engine(unsealed(settings, sealed))
    except DomainError as error:
        return [f"database {name}: {error.detail}"]
    try:
        return await _violations(engine, projects)
    except (SQLAlchemyError, PsycopgError) as error:
        return [f"database {name}: its projects cannot be checked ({type(error).__name__})"]
    finally:
        await engine.dispose()


async def _violations(engine: AsyncEngine, projects: list[tuple[int, str]]) -> list[str]:
    broken = []
    for project, name in projects:
        async with transaction(of_project(engine, project)) as connection:
            await connection.execute(ONLY_READS)  # or merges and webhooks would wait for it
            broken += [f"{name}: {line}" for line in await violations(connection)]
    return broken
