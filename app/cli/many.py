"""`vouchers void`: many codes at once, in this process, with a progress bar."""

import asyncio
import uuid
from collections.abc import Mapping
from contextlib import suppress

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.changes import service
from app.domain.changes.errors import BulkChangeEndedError
from app.domain.changes.schemas import BulkChangeCreate
from app.platform.database import transaction
from app.platform.engines import create_job_engine
from app.platform.errors import CommandError, DomainError
from app.platform.projects import of_project
from app.platform.settings import Settings

POLL_SECONDS = 0.2


def run(settings: Settings, project: int, action: str, chosen: Mapping[str, object], **about: object) -> int:
    """Change many vouchers of a project on a database that is migrated; the exit code.

    Who breaks it off cancels the change. What ends otherwise is left to the service, which takes it up.

    Raises:
        CommandError: what is asked for cannot be done.
    """
    given = {name: value for name, value in chosen.items() if value is not None}
    try:
        wanted = BulkChangeCreate.model_validate({"action": action, "filter": given, **about})
    except ValidationError as error:
        raise CommandError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
    return asyncio.run(_run(settings, project, wanted))


async def _run(settings: Settings, project: int, wanted: BulkChangeCreate) -> int:
    console = Console(highlight=False)
    engine = of_project(create_job_engine(settings), project)
    try:
        try:
            async with transaction(engine) as connection:
                change, _ = await service.begin(connection, None, wanted, by_job=False)
        except DomainError as error:
            raise CommandError(error.detail) from error
        try:
            await _show(engine, change.id, wanted.action, console)
        except asyncio.CancelledError:
            changed = await _cancel(engine, change.id)
            console.print(f"Broken off. {changed:,} are changed, and stay so: ask for it again to go on.")
            raise
        async with transaction(engine) as connection:
            done = await service.get(connection, change.id)
    finally:
        await engine.dispose()
    what = "would be changed" if wanted.dry_run else "changed"
    console.print(f"{done.changed:,} of {done.total or 0:,} {what}")
    for reason, n in sorted(done.skipped_by.items()):
        console.print(f"  {n:,} left: {reason}", markup=False)
    return 0


async def _show(engine: AsyncEngine, change_id: uuid.UUID, action: str, console: Console) -> None:
    """Do the change with a progress bar."""
    doing = asyncio.create_task(service.run(engine, change_id))
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(action, total=1.0)
            while not (await asyncio.wait([doing], timeout=POLL_SECONDS))[0]:
                progress.update(task, completed=await _progress(engine, change_id))
            progress.update(task, completed=1.0)
        await doing
    finally:
        doing.cancel()
        await asyncio.wait([doing])


async def _cancel(engine: AsyncEngine, change_id: uuid.UUID) -> int:
    """Cancel the change, unless it has ended; return how many vouchers it has changed."""
    with suppress(BulkChangeEndedError):
        async with transaction(engine) as connection:
            await service.cancel(connection, None, change_id)
    async with transaction(engine) as connection:
        return (await service.get(connection, change_id)).changed


async def _progress(engine: AsyncEngine, change_id: uuid.UUID) -> float:
    async with transaction(engine) as connection:
        return (await service.get(connection, change_id)).progress
