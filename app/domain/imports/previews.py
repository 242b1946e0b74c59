"""What a file shows before it is imported: the preview, and what has to be decided."""

import asyncio
import io
import tempfile
from contextlib import closing
from itertools import takewhile
from typing import BinaryIO, cast
from weakref import WeakValueDictionary

from app.domain.imports.beginning import AS_QUERIED, AS_TEXT, QUERIED, bytes_of
from app.domain.imports.errors import TooManyPreviewsError
from app.domain.imports.merging import reading
from app.domain.imports.merging.chunks import BLOCK_BYTES
from app.domain.imports.options import FormatIn, ImportOptions
from app.domain.imports.reader.marks import seen
from app.domain.imports.reader.table import Table, open_table
from app.domain.imports.source_schemas import Source, TextSource
from app.domain.imports.sources import checking, fetching
from app.domain.imports.stored import StoredOptions, StoredSource
from app.platform.seats import Seats
from app.platform.settings import Settings

PREVIEW_BYTES = 64 * 1024**2
"""Most bytes of a source that are fetched for a preview."""
PREVIEW_SECONDS = 20.0
"""How long that may take: somebody waits for it."""
PREVIEWS = Seats(4, waiting=32, patience=5.0, refusal=TooManyPreviewsError)
"""Previews that one process fetches at a time, each in a thread; the others wait, which takes no thread."""
_SHARES = WeakValueDictionary[int, Seats]()
"""Of each project that previews: all seats but one."""


def _share_of(project: int) -> Seats:
    return _SHARES.setdefault(
        project, Seats(PREVIEWS.most - 1, PREVIEWS.waiting, PREVIEWS.patience, TooManyPreviewsError)
    )


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
        look_at(io.BytesIO(bytes_of(source.text)), options.model_copy(update=AS_TEXT))


def preview(file: BinaryIO, options: FormatIn) -> dict[str, object]:
    """Return how a file is read, its first rows, and what has to be decided or looks wrong. Blocks."""
    table = open_table(file, reading.format_of(cast(StoredOptions, options.model_dump())))
    return {
        "encoding": table.format.encoding,
        "delimiter": table.format.delimiter,
        "quote": table.format.quote,
        "has_header": table.format.has_header,
        "header": table.header and [seen(cell) for cell in table.header],
        "rows": [[seen(cell) for cell in row] for row in table.first_rows],
        "columns": [
            {"index": column.index, "name": column.name or None, "suggested": column.index == table.suggested}
            for column in table.columns
        ],
        "columns_not_imported": None
        if table.suggested is None
        else reading.beside(table, {}, table.suggested),
        "skipped": [seen(line) for line in table.skipped],
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
            shown = ", ".join(repr(value[:40]) for _, value in unlike[:5])
            text = (
                f"{len(unlike)} of the first {len(table.sample)} values would be set aside as unlike the rest:"
                f" {shown}. They can be accepted with the import (`accept_suspicious`) or after it."
            )
            found.append({"reason": "suspicious", "text": text})
        beside = reading.beside(table, {}, table.suggested)
        if beside:
            found.append({"reason": "columns_not_imported", "text": f"Not imported: {', '.join(beside)}."})
    if table.skipped and any(table.skipped):
        found.append({"reason": "skipped", "text": "Lines before the table are left out; see `skipped`."})
    return found


async def preview_of(
    settings: Settings, project: int, source: Source, options: FormatIn
) -> dict[str, object]:
    """Preview a source of a project, fetched as far as it takes.

    Raises:
        TooManyPreviewsError: others are being fetched, and it waited too long.
    """
    if isinstance(source, TextSource):
        text = io.BytesIO(bytes_of(source.text))
        return await asyncio.to_thread(preview, text, options.model_copy(update=AS_TEXT))
    whole = cast(StoredSource, source.model_dump(mode="json"))
    await asyncio.to_thread(checking.check, whole)
    if source.type in QUERIED:
        options = options.model_copy(update=AS_QUERIED)
    async with _share_of(project).one(), PREVIEWS.one():
        return await asyncio.to_thread(_fetched_preview, settings, project, whole, options)


def _fetched_preview(
    settings: Settings, project: int, source: StoredSource, options: FormatIn
) -> dict[str, object]:
    with tempfile.SpooledTemporaryFile(BLOCK_BYTES) as file:
        patience = settings.model_copy(update={"fetch_seconds": min(PREVIEW_SECONDS, settings.fetch_seconds)})
        with closing(fetching.fetch(patience, source, project=project)) as blocks:
            file.writelines(takewhile(lambda _: file.tell() < PREVIEW_BYTES, blocks))
        file.seek(0)
        return preview(cast(BinaryIO, file), options)
