"""How an import begins: its bytes are stored, or its source is, and its job is enqueued."""

import hashlib
import io
import secrets
import uuid
from collections.abc import AsyncIterator
from typing import Protocol, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.access.audit import service as audit
from app.domain.access.scopes import Caller
from app.domain.imports import queries
from app.domain.imports.errors import UnreadableError
from app.domain.imports.merging.chunks import BLOCK_BYTES
from app.domain.imports.options import ImportOptions, Options
from app.domain.imports.reader.marks import seen
from app.domain.imports.source_schemas import Source, TextSource
from app.domain.imports.sources import checking
from app.domain.imports.sources import secrets as sealing
from app.domain.imports.stored import StoredSource
from app.domain.pools import service as pools
from app.domain.pools.errors import PoolNotFoundError
from app.platform.jobs import FETCHES, enqueue
from app.platform.settings import Settings

QUERIED = {"database", "analysis"}
AS_QUERIED = {"encoding": "utf-8", "delimiter": ",", "quote": '"', "has_header": True, "skip_lines": 0}
"""How `rows_as_csv` writes what was queried."""
AS_TEXT = {"encoding": "utf-8-sig"}
"""Text comes as JSON, whatever file it was copied from."""


class Upload(Protocol):
    """A file that is read piece by piece."""

    async def read(self, size: int) -> bytes:
        """Return the next bytes, none at the end."""


async def from_file(
    connection: AsyncConnection, pool: str, name: str | None, file: Upload, options: ImportOptions
) -> uuid.UUID:
    """Add an import whose bytes are those of a file, and return its id; they are safe with the commit."""
    import_id = await _add(connection, pool, options, {"type": "file", "name": name and seen(name)})
    await _store(connection, import_id, file)
    return import_id


async def from_source(
    connection: AsyncConnection,
    settings: Settings,
    pool: str,
    source: Source,
    options: ImportOptions,
    schedule_id: uuid.UUID | None = None,
) -> uuid.UUID:
    """Add an import whose bytes the job will fetch, and return its id; those of a text are there already.

    Args:
        connection: of the transaction.
        settings: with the key that seals the source.
        pool: into which it goes.
        source: where the bytes come from.
        options: of the import.
        schedule_id: of the schedule that repeats it; a text is not repeated.

    Raises:
        InvalidRequestError: it refers to what it may not refer to.
    """
    if isinstance(source, TextSource):
        import_id = await _add(connection, pool, options.model_copy(update=AS_TEXT), {"type": "text"})
        await _store(connection, import_id, InMemory(source.text))
        return import_id
    shown, sealed = sealed_source(settings, source)
    return await from_sealed(connection, pool, shown, sealed, options, schedule_id)


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
    schedule_id: uuid.UUID | None = None,
) -> uuid.UUID:
    """Enqueue the import of a source, perhaps the first run of a schedule, in this transaction; return its id."""
    import_id = await from_source(connection, settings, pool, source, options, schedule_id)
    fetched = not isinstance(source, TextSource)
    return await _begin_for(connection, caller, pool, import_id, fetched=fetched)


async def begin(connection: AsyncConnection, import_id: uuid.UUID, *, fetched: bool = False) -> None:
    """Enqueue the job of an import in this transaction; what is fetched has a queue of its own."""
    await enqueue(connection, "run_import", queue=FETCHES if fetched else None, import_id=str(import_id))


async def _begin_for(
    connection: AsyncConnection, caller: Caller | None, pool: str, import_id: uuid.UUID, *, fetched: bool
) -> uuid.UUID:
    await begin(connection, import_id, fetched=fetched)
    await record(connection, caller, pool, import_id)
    return import_id


async def record(connection: AsyncConnection, caller: Caller | None, pool: str, import_id: uuid.UUID) -> None:
    """Record in the audit that an import was asked for."""
    await audit.record(connection, caller, "import.created", pool=pool, import_id=str(import_id))


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


def bytes_of(text: str) -> bytes:
    """Return a pasted text as the file that it stands for.

    Raises:
        UnreadableError: it holds half a character.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UnreadableError("The text holds half a character (an unpaired surrogate).") from error


class InMemory:
    """A pasted text, read as an upload is."""

    def __init__(self, text: str) -> None:
        self._file = io.BytesIO(bytes_of(text))

    async def read(self, size: int) -> bytes:
        """Return the next bytes, none at the end."""
        return self._file.read(size)
