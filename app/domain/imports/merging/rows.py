"""Which rows become vouchers: codes lose outer white space, and else are taken as they are or not at all."""

import re
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from app.domain.imports.reader.dialect import is_blank
from app.domain.imports.reader.table import Batch
from app.schema.inventory import MAX_CODE_LENGTH

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
SHARES = 2
"""Parts of an import that are merged side by side; a code is always of the same one (docs/decisions/0023)."""
SHOWN = 1000
"""Characters of a rejected value that are kept."""
_DATE_ONLY = 10


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that does not become a voucher."""

    line: int
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class Sorted:
    """A batch, sorted into rows to stage, as PostgreSQL's COPY takes them, and rejects."""

    shares: list[list[str]]
    """The rows of each share."""
    rejects: list[Reject]


def sort(batch: Batch, column: int, expires_at_column: int | None) -> Sorted:
    """Sort the rows of a batch."""
    if expires_at_column is None and (plain := _all_plain(batch, column)) is not None:
        return plain
    shares: list[list[str]] = [[] for _ in range(SHARES)]
    rejects: list[Reject] = []
    for line, row in zip(batch.lines, batch.rows, strict=True):
        if is_blank(row):
            continue
        code = row[column].strip() if column < len(row) else None
        expiry, reason = r"\N", _fault(code)
        if reason is None and expires_at_column is not None:
            text = row[expires_at_column].strip() if expires_at_column < len(row) else ""
            try:
                expiry = expires_at(text).isoformat() if text else expiry
            except ValueError:
                reason, code = "invalid_expires_at", text
        if reason is None:
            shares[_share(code or "")].append(f"{line}\t{_escaped(code or '')}\t{expiry}\n")
        else:
            rejects.append(Reject(line, _shown(code or ""), reason))
    return Sorted(shares, rejects)


def _all_plain(batch: Batch, column: int) -> Sorted | None:
    """A batch in which every code is good at first sight: nearly all batches, in a third of the time."""
    try:
        codes = [row[column].strip() for row in batch.rows]
    except IndexError:
        return None
    text = "".join(codes)
    if (
        not all(codes)
        or not text.isprintable()
        or "\\" in text
        or max(map(len, codes), default=0) > MAX_CODE_LENGTH
    ):
        return None
    shares: list[list[str]] = [[] for _ in range(SHARES)]
    for line, code in zip(batch.lines, codes, strict=True):
        shares[_share(code)].append(f"{line}\t{code}\t\\N\n")
    return Sorted(shares, [])


def _share(code: str) -> int:
    return zlib.crc32(code.encode()) % SHARES


def _fault(code: str | None) -> str | None:
    """Why a code cannot be taken; None where it can."""
    if code is None:
        return "too_few_columns"
    if not code:
        return "empty"
    if len(code) > MAX_CODE_LENGTH:
        return "too_long"
    if not code.isprintable() and CONTROL.search(code):
        return "control_character"
    return None


def expires_at(text: str) -> datetime:
    """A time in ISO 8601, UTC where it names no zone. A day alone means until its end.

    Raises:
        ValueError: it is no such time.
    """
    moment = datetime.fromisoformat(text)
    if len(text) <= _DATE_ONLY and moment.time() == time():
        moment += timedelta(days=1)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _escaped(code: str) -> str:
    return code.replace("\\", "\\\\")


def _shown(value: str) -> str:
    """As PostgreSQL can keep it, and not longer than people read."""
    return re.sub(r"[\x00\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", value[:SHOWN])
