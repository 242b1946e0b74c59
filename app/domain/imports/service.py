"""The rules of imports, as requests see them."""

import asyncio
import hashlib
import io
import secrets
import tempfile
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from itertools import takewhile
from typing import BinaryIO, Protocol, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.access.audit import service as audit
from app.domain.access.scopes import Caller
from app.domain.imports import queries
from app.domain.imports.errors import (
    ImportEndedError,
    ImportNotFinishedError,
    ImportNotFoundError,
    TooManyPreviewsError,
    UnreadableError,
)
from app.domain.imports.merging import reading
from app.domain.imports.merging.chunks import BLOCK_BYTES
from app.domain.imports.reader.marks import seen
from app.domain.imports.reader.table import Table, open_table
from app.domain.imports.schemas import (
    FormatIn,
    IgnoredRecord,
    ImportOptions,
    ImportRecord,
    LastImport,
    Options,
    RejectRecord,
    Source,
    TextSource,
)
from app.domain.imports.sources import checking, fetching
from app.domain.imports.sources import secrets as sealing
from app.domain.imports.stored import StoredOptions, StoredSource
from app.domain.lifecycle import order, suspicious
from app.domain.pools import service as pools
from app.domain.pools.errors import PoolNotFoundError
from app.platform.jobs import FETCHES, enqueue
from app.platform.metrics import Reading
from app.platform.places import Places
from app.platform.settings import Settings
from app.schema.base import ImportStatus

PREVIEW_BYTES = 64 * 1024**2
"""Most bytes of a source that are fetched for a preview."""
PREVIEW_SECONDS = 20.0
"""How long that may take: somebody waits for it."""
PREVIEWS = Places(3, waiting=32, patience=5.0, refusal=TooManyPreviewsError)
"""Previews that one process fetches at a time, each in a thread; the others wait, which takes no thread."""
QUERIED = {"database", "analysis"}
AS_QUERIED = {"encoding": "utf-8", "delimiter": ",", "quote": '"', "has_header": True}
"""How `rows_as_csv` writes what was queried."""
AS_TEXT = {"encoding": "utf-8-sig"}
"""Text comes as JSON, whatever file it was copied from."""
CANCELLED = "It was cancelled."
ENDED = {ImportStatus.SUCCEEDED, ImportStatus.FAILED}


class Upload(Protocol):
    """A file that is read piece by piece."""

    async def read(self, size: int) -> bytes:
        """Return the next bytes, none at the end."""


async def from_file(
    connection: AsyncConnection, pool: str, name: str | None, file: Upload, options: ImportOptions
) -> uuid.UUID:
    """Add an import whose bytes are those of a file, and return its id; they are safe with the commit."""
    import_id = await _add(connection, pool, options, {"type": "file", "name": name})
    await _store(connection, import_id, file)
    return import_id


async def from_source(
    connection: AsyncConnection,
    settings: Settings,
    pool: str,
    source: Source,
    options: ImportOptions,
) -> uuid.UUID:
    """Add an import whose bytes the job will fetch, and return its id; those of a text are there already.

    Raises:
        InvalidRequestError: it refers to what it may not refer to.
    """
    if isinstance(source, TextSource):
        import_id = await _add(connection, pool, options.model_copy(update=AS_TEXT), {"type": "text"})
        await _store(connection, import_id, _InMemory(source.text))
        return import_id
    shown, sealed = sealed_source(settings, source)
    return await from_sealed(connection, pool, shown, sealed, options)


def look_at(file: BinaryIO, options: ImportOptions) -> None:
    """Look at the beginning of a file before it is stored; what is wrong further on, the import tells. Blocks.

    Raises:
        ImportUndecidedError: the file leaves open what the options do not say.
        UnreadableError: it is no list of codes, or its first rows cannot be read.
    """
    given = cast(StoredOptions, options.model_dump(mode="json"))
    names = [name for name in reading.columns_named(given) if isinstance(name, str)]
    try:
        table = open_table(file, reading.format_of(given), names)
        sorter = reading.sorter(table, given)
        reading.beside(table, given, sorter.column)
        reading.check_rows(table, sorter)
    finally:
        file.seek(0)


def look_at_source(source: Source, options: ImportOptions) -> None:
    """Look at a source before it is stored, where that takes no fetching. Blocks.

    Raises:
        ImportUndecidedError: it leaves open what the options do not say.
        UnreadableError: it is no list of codes, or its first rows cannot be read.
    """
    if isinstance(source, TextSource):
        look_at(io.BytesIO(_bytes(source.text)), options.model_copy(update=AS_TEXT))


async def begin_from_file(
    connection: AsyncConnection,
    caller: Caller | None,
    pool: str,
    name: str | None,
    file: Upload,
    options: ImportOptions,
) -> uuid.UUID:
    """Store an uploaded file and have it imported once the transaction has committed; return the import's id."""
    import_id = await from_file(connection, pool, name, file, options)
    return await _begin_for(connection, caller, pool, import_id, fetched=False)


async def begin_from_source(
    connection: AsyncConnection,
    caller: Caller | None,
    settings: Settings,
    pool: str,
    source: Source,
    options: ImportOptions,
) -> uuid.UUID:
    """Enqueue the import of a source in this transaction; return the import's id."""
    import_id = await from_source(connection, settings, pool, source, options)
    fetched = not isinstance(source, TextSource)
    return await _begin_for(connection, caller, pool, import_id, fetched=fetched)


async def begin(connection: AsyncConnection, import_id: uuid.UUID, *, fetched: bool = False) -> None:
    """Enqueue the job of an import in this transaction; what is fetched has a queue of its own."""
    await enqueue(connection, "run_import", queue=FETCHES if fetched else None, import_id=str(import_id))


async def _begin_for(
    connection: AsyncConnection, caller: Caller | None, pool: str, import_id: uuid.UUID, *, fetched: bool
) -> uuid.UUID:
    await begin(connection, import_id, fetched=fetched)
    await audit.record(connection, caller, "import.created", pool=pool, import_id=str(import_id))
    return import_id


def sealed_source(settings: Settings, source: Source) -> tuple[dict[str, object], bytes]:
    """Return a source as it is shown, and as it is kept."""
    whole = cast(StoredSource, source.model_dump(mode="json"))
    checking.check(whole)
    return sealing.masked(whole), sealing.seal(settings, whole)


async def from_sealed(
    connection: AsyncConnection,
    pool: str,
    shown: dict[str, object],
    sealed: bytes,
    options: ImportOptions,
    schedule_id: uuid.UUID | None = None,
) -> uuid.UUID:
    """Add an import of a source that is stored, and return its id."""
    if shown["type"] in QUERIED:
        options = options.model_copy(update=AS_QUERIED)
    return await _add(connection, pool, options, shown, sealed=sealed, schedule_id=schedule_id)


async def get(connection: AsyncConnection, import_id: uuid.UUID) -> ImportRecord:
    """Return an import.

    Raises:
        ImportNotFoundError: there is none of this id.
    """
    row = await queries.by_id(connection, import_id)
    if row is None:
        raise ImportNotFoundError(f"There is no import {import_id}.")
    return row


async def list_page(
    connection: AsyncConnection,
    pool: str | None,
    schedule_id: uuid.UUID | None,
    key: queries.Key | None,
    limit: int,
) -> list[ImportRecord]:
    """Return imports, the newest first."""
    return await queries.list_page(connection, pool, schedule_id, key, limit)


async def list_rejects(
    connection: AsyncConnection, import_id: uuid.UUID, line: int, limit: int
) -> list[RejectRecord]:
    """Return rejects of an import, by line."""
    await get(connection, import_id)
    return await queries.list_rejects(connection, import_id, line, limit)


async def list_ignored(
    connection: AsyncConnection, import_id: uuid.UUID, line: int, limit: int
) -> list[IgnoredRecord]:
    """Return ignored rows of an import, by line."""
    await get(connection, import_id)
    return await queries.list_ignored(connection, import_id, line, limit)


async def under_way(connection: AsyncConnection, schedule_id: uuid.UUID) -> bool:
    """Tell whether an import of a schedule has not ended."""
    return await queries.under_way(connection, schedule_id)


async def last_of_pools(connection: AsyncConnection, pool_ids: Sequence[int]) -> dict[int, LastImport]:
    """Return the last import of each of these pools that has one, by the pool's id."""
    return {row.pool_id: row for row in await queries.last_of_pools(connection, pool_ids)}


async def cancel(connection: AsyncConnection, caller: Caller | None, import_id: uuid.UUID) -> ImportRecord:
    """Cancel an import that is queued or under way; what it has imported so far stays, and can be undone.

    Its job notices within a second, and deletes what it had stored.

    Raises:
        ImportNotFoundError: there is none of this id.
        ImportEndedError: it has ended.
    """
    pool = await queries.cancel(connection, import_id, CANCELLED)
    if pool is None:
        await get(connection, import_id)
        raise ImportEndedError("The import has ended. Undo it, where it brought codes.")
    row = await get(connection, import_id)
    if not row.dry_run:
        about: dict[str, object] = {"import_id": str(import_id), "status": str(row.status)}
        await order.record(connection, pool, "import.finished", about)
    await audit.record(connection, caller, "import.cancelled", pool=pool, import_id=str(import_id))
    return await get(connection, import_id)


async def accept_suspicious(
    connection: AsyncConnection, caller: Caller | None, import_id: uuid.UUID
) -> ImportRecord:
    """Take the values of an import that were set aside after all; return the import as it is then.

    Raises:
        ImportNotFinishedError: it is still under way.
        PoolNotFoundError: the pool was deleted.
    """
    row = await queries.lock(connection, import_id)
    if row is None:
        raise ImportNotFoundError(f"There is no import {import_id}.")
    if row.status not in ENDED:
        raise ImportNotFinishedError("The import is still under way; accept them when it has ended.")
    if row.pool_id is None and not row.dry_run:
        raise PoolNotFoundError(row.pool)
    accepted = {"imported": 0, "ignored": 0, "in_other_pool": 0}
    if row.suspicious and not row.dry_run:
        accepted = await suspicious.take(connection, import_id)
        await audit.record(
            connection,
            caller,
            "import.suspicious_accepted",
            pool=row.pool,
            import_id=str(import_id),
            **accepted,
        )
    return await get(connection, import_id)


def preview(file: BinaryIO, options: FormatIn) -> dict[str, object]:
    """Return how a file is read, its first rows, and what has to be decided or looks wrong. Blocks."""
    table = open_table(file, reading.format_of(cast(StoredOptions, options.model_dump())))
    return {
        "encoding": table.format.encoding,
        "delimiter": table.format.delimiter,
        "quote": table.format.quote,
        "has_header": table.format.has_header,
        "header": table.header,
        "rows": [[seen(cell) for cell in row] for row in table.first_rows],
        "columns": [
            {"index": column.index, "name": column.name or None, "suggested": column.index == table.suggested}
            for column in table.columns
        ],
        "columns_not_imported": None
        if table.suggested is None
        else reading.beside(table, {}, table.suggested),
        "skipped": table.skipped,
        "warnings": _warnings(table),
    }


def _warnings(table: Table) -> list[dict[str, str]]:
    """Return what the importer of a file ought to know before."""
    found = [{"reason": question.reason, "text": question.text} for question in table.open_questions(None)]
    if not table.sample:
        found.append({"reason": "empty", "text": "There is no row."})
    if table.suggested is not None:
        unlike = reading.suspicious_in_sample(table, table.suggested)
        if unlike:
            shown = ", ".join(repr(value[:40]) for value in unlike[:5])
            text = (
                f"{len(unlike)} of the first {len(table.sample)} values are unlike the rest and would be set aside:"
                f" {shown}. They are taken with `accept_suspicious`, or afterwards."
            )
            found.append({"reason": "suspicious", "text": text})
        beside = reading.beside(table, {}, table.suggested)
        if beside:
            found.append({"reason": "columns_not_imported", "text": f"Not imported: {', '.join(beside)}."})
    if table.skipped and any(table.skipped):
        found.append({"reason": "skipped", "text": "Lines before the table are left out; see `skipped`."})
    return found


async def preview_of(settings: Settings, source: Source, options: FormatIn) -> dict[str, object]:
    """Preview a source, fetched as far as it takes.

    Raises:
        TooManyPreviewsError: others are being fetched, and it waited too long.
    """
    if isinstance(source, TextSource):
        text = io.BytesIO(_bytes(source.text))
        return await asyncio.to_thread(preview, text, options.model_copy(update=AS_TEXT))
    whole = cast(StoredSource, source.model_dump(mode="json"))
    await asyncio.to_thread(checking.check, whole)
    if source.type in QUERIED:
        options = options.model_copy(update=AS_QUERIED)
    async with PREVIEWS.one():
        return await asyncio.to_thread(_fetched_preview, settings, whole, options)


def _fetched_preview(settings: Settings, source: StoredSource, options: FormatIn) -> dict[str, object]:
    with tempfile.SpooledTemporaryFile(BLOCK_BYTES) as file:
        patience = settings.model_copy(update={"fetch_seconds": min(PREVIEW_SECONDS, settings.fetch_seconds)})
        with closing(fetching.fetch(patience, source)) as blocks:
            file.writelines(takewhile(lambda _: file.tell() < PREVIEW_BYTES, blocks))
        file.seek(0)
        return preview(cast(BinaryIO, file), options)


async def _add(
    connection: AsyncConnection,
    pool: str,
    options: ImportOptions,
    shown: dict[str, object],
    **more: object,
) -> uuid.UUID:
    import_id = uuid.uuid4()
    pool_id, made_pool = await _pool_id(connection, pool, dry_run=options.dry_run)
    await queries.add(
        connection,
        id=import_id,
        pool=pool,
        pool_id=pool_id,
        made_pool=made_pool,
        dry_run=options.dry_run,
        source=shown,
        options=options.model_dump(mode="json", include=set(Options.model_fields)),
        seed=secrets.randbits(64) - 2**63,
        **more,
    )
    return import_id


async def _pool_id(connection: AsyncConnection, pool: str, *, dry_run: bool) -> tuple[int | None, bool]:
    """Return the id of the pool, and whether it was made for this, being not there; a dry run makes none."""
    if not dry_run:
        return await pools.ensure_kept(connection, pool)
    try:
        return await pools.id_of(connection, pool), False
    except PoolNotFoundError:
        return None, False


async def _store(connection: AsyncConnection, import_id: uuid.UUID, file: Upload) -> None:
    size, digest = 0, hashlib.sha256()
    async for number, data in _chunks(file):
        await queries.add_chunk(connection, import_id, number, data)
        digest.update(data)
        size += len(data)
    await queries.stored(connection, import_id, size, digest.hexdigest())


async def _chunks(file: Upload) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the file in chunks, each full but the last: files on a disk give what they are asked for."""
    number = 0
    while data := await file.read(BLOCK_BYTES):
        yield number, data
        number += 1


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UnreadableError("The text holds half a character (an unpaired surrogate).") from error


class _InMemory:
    def __init__(self, text: str) -> None:
        self._file = io.BytesIO(_bytes(text))

    async def read(self, size: int) -> bytes:
        return self._file.read(size)


async def state(connection: AsyncConnection) -> list[Reading]:
    """Return how many imports have not ended, and for how long the oldest is there."""
    under_way, age = await queries.not_ended(connection)
    return [
        Reading("vouchers_imports_under_way", "Imports that have not ended", under_way),
        Reading("vouchers_import_oldest_seconds", "How long ago the oldest of these was asked for", age),
    ]
