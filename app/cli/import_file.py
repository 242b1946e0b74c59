"""`vouchers import`: a file of this machine, with a progress bar."""

import asyncio
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.domain.imports import beginning, previews, service
from app.domain.imports.errors import ImportEndedError, UnreadableError
from app.domain.imports.merging import pipeline
from app.domain.imports.options import ImportOptions
from app.domain.pools.schemas import PoolName
from app.platform.database import transaction
from app.platform.engines import create_job_engine
from app.platform.errors import InvalidRequestError
from app.platform.projects import of_project
from app.platform.settings import Settings
from app.schema.base import ImportStatus

SHOWN_REJECTS = 10
_NAME: TypeAdapter[str] = TypeAdapter(PoolName)


def run(settings: Settings, project: int, pool: str, path: Path, given: Mapping[str, object]) -> int:
    """Import a file into a pool of a project in this process, on a database that is migrated; the exit code.

    Who breaks it off cancels the import. What ends otherwise is left to the service, which takes it up.
    """
    console = Console(highlight=False)
    try:
        pool = _NAME.validate_python(pool)
        options = ImportOptions.model_validate(
            {name: value for name, value in given.items() if value is not None}
        )
        import_id = asyncio.run(_store(settings, project, pool, path, options))
    except ValidationError as error:
        console.print(_says(error), style="red", markup=False)
        return 2
    except (InvalidRequestError, UnreadableError, OSError) as error:
        console.print(_plain(str(error)), style="red", markup=False)
        return 1 if type(error) is UnreadableError else 2
    try:
        _show(settings, project, import_id, f"{_plain(path.name)} → {pool}", console)
    except (KeyboardInterrupt, SystemExit):
        imported = asyncio.run(_cancel(settings, project, import_id))
        console.print(f"Broken off. {imported:,} codes have come in, and stay: import it again to go on.")
        raise
    return asyncio.run(_tell(settings, project, import_id, console))


def _show(settings: Settings, project: int, import_id: uuid.UUID, what: str, console: Console) -> None:
    """Run the import with a progress bar."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=1.0)
        pipeline.run(settings, project, import_id, lambda done: progress.update(task, completed=done))
        progress.update(task, completed=1.0)


async def _cancel(settings: Settings, project: int, import_id: uuid.UUID) -> int:
    """Cancel the import, unless it has ended; return how many codes it has brought."""
    engine = of_project(create_job_engine(settings), project)
    try:
        with suppress(ImportEndedError):
            async with transaction(engine) as connection:
                await service.cancel(connection, None, import_id)
        await asyncio.to_thread(pipeline.run, settings, project, import_id)  # deletes what it had stored
        async with transaction(engine) as connection:
            return (await service.get(connection, import_id)).imported
    finally:
        await engine.dispose()


def _plain(text: str) -> str:
    """Return what a file says without what a terminal would obey."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _says(error: ValidationError) -> str:
    """Return what is wrong with the first option that is, and which one it is; of the pool's name, its message."""
    wrong = error.errors()[0]
    return ": ".join([*map(str, wrong["loc"][:1]), wrong["msg"].removeprefix("Value error, ")])


async def _store(
    settings: Settings, project: int, pool: str, path: Path, options: ImportOptions
) -> uuid.UUID:
    engine = of_project(create_job_engine(settings), project)
    try:
        with path.open("rb") as file:
            await asyncio.to_thread(previews.look_at, file, options)
            async with transaction(engine) as connection:
                import_id = await beginning.from_file(connection, pool, path.name, _Local(file), options)
                await beginning.record(connection, None, pool, import_id)
                return import_id
    finally:
        await engine.dispose()


async def _tell(settings: Settings, project: int, import_id: uuid.UUID, console: Console) -> int:
    engine = of_project(create_job_engine(settings), project)
    try:
        async with transaction(engine) as connection:
            done = await service.get(connection, import_id)
            rejects = await service.list_rejects(connection, import_id, 0, SHOWN_REJECTS)
    finally:
        await engine.dispose()
    if done.status != ImportStatus.SUCCEEDED:
        console.print(_plain(done.error or ""), style="red", markup=False)
        return 1
    what = "would be imported" if done.dry_run else "imported"
    figures = f"{done.imported:,} {what}, {done.ignored:,} ignored, {done.rejected:,} rejected"
    console.print(f"{done.rows:,} rows: {figures}")
    if done.columns_not_imported:
        console.print(f"  not imported: {_plain(', '.join(done.columns_not_imported))}", markup=False)
    for row in rejects:
        where = f" ({row.other_pool})" if row.other_pool else ""
        console.print(f"  line {row.line}: {row.reason}{where}", markup=False)
    if done.rejected > len(rejects):
        console.print(f"  … all at /v1/imports/{import_id}/rejects")
    return 0


class _Local:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    async def read(self, size: int) -> bytes:
        data: bytes = await asyncio.to_thread(self._file.read, size)
        return data
