"""Which rows become vouchers: codes lose what surrounds them unseen, and else are taken as they are or not at all."""

import re
import unicodedata
import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from itertools import repeat

import orjson

from app.domain.imports.errors import UnreadableError
from app.domain.imports.merging.past import Past, RowError
from app.domain.imports.reader import dates, words
from app.domain.imports.reader.batches import Batch
from app.domain.imports.reader.dialect import is_blank
from app.domain.imports.reader.marks import BROKEN, LOST, NO_TEXT, NOT_TEXT, UNSAVED, seen
from app.domain.imports.reader.shapes import LEVELS, Shapes
from app.domain.imports.reader.unmarked import Marks, code_of, is_destroyed
from app.schema.inventory import MAX_CODE_LENGTH

SHARES = 2
"""Parts of an import that are merged side by side; a code is always of the same one (docs/decisions/0023)."""
MIX, HALF = 0x9E3779B1, 1 << 31
"""A share has half of the draw order: so which one it is must not show in a code. The checksum alone is linear: of
codes that differ in one sign alone, some would always be drawn before others."""
MOST_KEPT = 1000
"""Characters of a rejected value that are kept."""
_REMARK = re.compile(r"(#+|//+) .*", re.DOTALL)
"""A comment: no code has such a sign apart from the rest."""
_TELLING = ("\\", "'", "  ", '="', "# ", "// ")
"""What says that a code is to be looked at by itself."""
_UNSEEN = {"Cc": "control_character", "Cs": "control_character", "Cf": "format_character"} | dict.fromkeys(
    ("Zs", "Zl", "Zp"), "format_character"
)
_MARKED = {LOST: "more_than_15_digits", NOT_TEXT: "not_a_text", UNSAVED: "formula_without_value"}
_PLACEHOLDER_SHAPES = [
    {spelt.translate(table) for word in words.PLACEHOLDERS for spelt in (word, word.upper(), word.title())}
    for table in LEVELS
]
"""The shapes of placeholders at each level: where none of them is, no value has to be looked at."""
MAX_ATTRIBUTE_LENGTH = 1000
"""Most characters of a value that comes with a code."""


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
    given: list[str] = field(default_factory=list)
    """Those of codes that were given elsewhere."""


@dataclass(slots=True)
class Sorter:
    """Sorts the batches of one file, and remembers what is unlike the rest of it."""

    column: int
    expires_at_column: int | None = None
    shapes: Shapes | None = None
    """None where whatever is in the column is taken."""
    heading: str | None = None
    """The heading of the column, which may come again where files were joined."""
    marks: Marks = Marks.ANY
    attributes: tuple[tuple[str, int], ...] = ()
    """What is taken besides the code: name and column of each."""
    zone: tzinfo = UTC
    """Of times that name none."""
    date_format: str | None = None
    """How times are written, in the directives of strptime; None: in ISO 8601."""
    past: Past | None = None
    """Where rows tell to whom their code was given before; None where they do not."""
    seed: int = 0
    """Of the import (32 bits), by which the codes are dealt into shares."""
    aside: list[int] = field(default_factory=list)
    """Lines that are unlike the rest for certain."""

    @property
    def codes_alone(self) -> bool:
        """Tell whether nothing but the code is taken of a row."""
        return self.expires_at_column is None and not self.attributes and self.past is None

    def sort(self, batch: Batch) -> Sorted:
        """Sort the rows of a batch."""
        if self.codes_alone and (plain := self._all_plain(batch)) is not None:
            return plain
        shares: list[list[str]] = [[] for _ in range(SHARES)]
        rejects: list[Reject] = []
        given: list[str] = []
        lines: list[int] = []
        codes: list[str] = []
        for line, row in zip(batch.lines, batch.rows, strict=True):
            if is_blank(row):
                continue
            try:
                code, besides, told = self._taken(row)
            except RowError as error:
                rejects.append(Reject(line, kept_value(error.value), error.reason))
                continue
            self._refuse_destroyed(line, code)
            if told is None:
                shares[_share(code, self.seed)].append(f"{line}\t{_escaped(code)}\t{besides}\n")
            else:
                besides = besides if self.attributes else f"{besides}\t\\N"
                given.append(f"{line}\t{_escaped(code)}\t{besides}\t{told}\n")
            lines.append(line)
            codes.append(code)
        self._look_at(lines, codes)
        return Sorted(shares, rejects, given)

    def _taken(self, row: Sequence[str]) -> tuple[str, str, str | None]:
        """Return a row's code, what comes with it as COPY takes it, and the same of its past, where it has one.

        Raises:
            RowError: it does not become a voucher.
        """
        code = code_of(row[self.column], self.marks) if self.column < len(row) else None
        reason = fault(code)
        if code is None or reason is not None:
            raise RowError(str(reason), code or "")
        besides = self._expiry_in(row, code)
        if self.attributes:
            try:
                besides += "\t" + self._attributes_in(row)
            except ValueError as error:
                raise RowError("invalid_attribute", str(error)) from None
        if self.past is None or self._is_heading(code):
            return code, besides, None
        return code, besides, self.past.of(code, row)

    def _expiry_in(self, row: Sequence[str], code: str) -> str:
        place = self.expires_at_column
        text = row[place].strip() if place is not None and place < len(row) else ""
        try:
            return dates.moment(text, self.zone, self.date_format).isoformat() if text else r"\N"
        except ValueError:
            if self.shapes is not None and self._is_heading(code):
                return r"\N"
            raise RowError("invalid_expires_at", text) from None

    def _attributes_in(self, row: Sequence[str]) -> str:
        """Return what the row brings besides its code, as COPY takes it; empty cells bring nothing.

        Raises:
            ValueError: a value is too long, or no text that can be kept; the message is the value.
        """
        found: dict[str, str] = {}
        for name, column in self.attributes:
            if column < len(row) and row[column].startswith(BROKEN):
                raise ValueError(row[column])
            value = code_of(row[column], self.marks) if column < len(row) else ""
            if len(value) > MAX_ATTRIBUTE_LENGTH or NO_TEXT.search(value):
                raise ValueError(value)
            if value:
                found[name] = value
        return _escaped(orjson.dumps(found).decode()) if found else r"\N"

    def _all_plain(self, batch: Batch) -> Sorted | None:
        """Sort a batch in which every code is good at first sight: nearly all batches, in a third of the time."""
        column = self.column
        try:
            codes = [row[column].strip() for row in batch.rows]
        except IndexError:
            return None
        if self.shapes is None or self.shapes.hopeless or not codes:
            return _dealt(batch.lines, codes, self.seed) if _is_plain(codes, codes) else None
        found = self.shapes.found(codes)
        # Their shapes show it too, and are few: letters and digits do not matter, and lengths are kept.
        whole = found[0] is None or len(found[0]) == len(codes)  # no code has a line break in it
        if not whole or not _is_plain(found[1], codes) or self._may_be_unlike(codes, found[1]):
            return None
        self.shapes.add(batch.lines, codes, found)
        return _dealt(batch.lines, codes, self.seed)

    def _may_be_unlike(self, codes: Sequence[str], shapes: Collection[str]) -> bool:
        """Return whether the heading comes again, or a placeholder is among the codes."""
        level = self.shapes.level if self.shapes is not None else 0
        if (
            self.heading is not None
            and self.heading.translate(LEVELS[level]) in shapes
            and self.heading in codes
        ):
            return True
        return not _PLACEHOLDER_SHAPES[level].isdisjoint(shapes) and not words.PLACEHOLDERS.isdisjoint(
            map(str.casefold, codes)
        )

    def _look_at(self, lines: Sequence[int], codes: Sequence[str]) -> None:
        """Set aside what is no code for certain, and count the shapes of the others."""
        if self.shapes is None:
            return
        kept = []
        for place, code in enumerate(codes):
            # Two blanks part columns: no code holds them.
            unlike = "  " in code or words.is_placeholder(code) or self._is_heading(code)
            if unlike or _REMARK.match(code):
                self.aside.append(lines[place])
            else:
                kept.append(place)
        self.shapes.add([lines[place] for place in kept], [codes[place] for place in kept])

    def _is_heading(self, code: str) -> bool:
        return self.heading is not None and code == self.heading

    def _refuse_destroyed(self, line: int, code: str) -> None:
        """Refuse a file in which a spreadsheet has destroyed codes.

        Raises:
            UnreadableError: this code was.
        """
        if is_destroyed(code, self.marks):
            raise UnreadableError(
                f"Line {line} holds {code!r}: a spreadsheet has turned a long code into a rounded number, and its last"
                " digits are lost. Nothing was imported. Export the codes anew from where they come from, with the"
                " column formatted as text before they are put in, or without opening the file in a spreadsheet."
            )

    def unlike(self) -> list[int]:
        """Return the lines whose values are unlike the rest of the file, once all of it was sorted."""
        if self.shapes is None:
            return []
        return sorted({*self.aside, *(line for line, _ in self.shapes.unlike())})


def _is_plain(values: Collection[str], codes: Sequence[str]) -> bool:
    """Return whether codes are good at first sight, by themselves or by their shapes."""
    text = "\n".join(values)
    return (
        all(values)
        and "".join(values).isprintable()
        and max(map(len, values), default=0) <= MAX_CODE_LENGTH
        and not any(sign in text for sign in _TELLING)
        and not ("+" in text and any("E+" in code or "e+" in code for code in codes))
    )


def _dealt(lines: Iterable[int], codes: Sequence[str], seed: int) -> Sorted:
    """Return the codes dealt into their shares, without a look at them."""
    shares: tuple[list[str], list[str]] = ([], [])
    to_first, to_second = shares[0].append, shares[1].append  # looked up once, not per row
    checksums = map(zlib.crc32, map(str.encode, codes), repeat(seed))
    for line, code, checksum in zip(lines, codes, checksums, strict=True):
        if checksum * MIX & HALF:
            to_second(f"{line}\t{code}\t\\N\n")
        else:
            to_first(f"{line}\t{code}\t\\N\n")
    return Sorted([*shares], [])


def _share(code: str, seed: int) -> int:
    return int(zlib.crc32(code.encode(), seed) * MIX & HALF != 0)


def fault(code: str | None) -> str | None:
    """Return why a code cannot be taken; None where it can."""
    if code is None:
        return "too_few_columns"
    if not code:
        return "empty"
    if marked := next((reason for mark, reason in _MARKED.items() if code.startswith(mark)), None):
        return marked
    if len(code) > MAX_CODE_LENGTH:
        return "too_long"
    if code.isprintable():
        return None
    return next(
        (
            reason
            for character in code
            if character != " " and (reason := _UNSEEN.get(unicodedata.category(character)))
        ),
        None,
    )


def _escaped(code: str) -> str:
    return code.replace("\\", "\\\\")


def kept_value(value: str) -> str:
    """Return a value as PostgreSQL can keep it, and not longer than people read."""
    return seen(value)[:MOST_KEPT]
