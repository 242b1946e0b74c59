"""How the options of an import apply to the file that is read."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo

from app.domain.imports.errors import UnreadableError
from app.domain.imports.merging.past import Past
from app.domain.imports.merging.rows import Sorter, fault
from app.domain.imports.reader import questions
from app.domain.imports.reader.columns import name_of
from app.domain.imports.reader.shapes import Shapes
from app.domain.imports.reader.table import Format, Table
from app.domain.imports.reader.unmarked import Marks, code_of
from app.domain.imports.stored import ColumnName, StoredOptions
from app.platform.clock import clock

PAST: tuple[
    Literal["customer_id_column"],
    Literal["campaign_id_column"],
    Literal["assigned_at_column"],
    Literal["redeemed_at_column"],
    Literal["valid_from_column"],
] = (
    "customer_id_column",
    "campaign_id_column",
    "assigned_at_column",
    "redeemed_at_column",
    "valid_from_column",
)
HOLDERS = PAST[:2]
"""Those that say who has a code."""

CHECKED_ROWS = 10_000
"""So many rows of an upload are looked at before it is stored."""
CHECKED_BATCHES = 100
"""No more are looked at, blank lines counted: a small file may unpack to billions of them."""


def format_of(options: StoredOptions) -> Format:
    """Return what the options say of how the file is written."""
    quote = options.get("quote")
    return Format(
        options.get("encoding"),
        options.get("delimiter"),
        "" if quote == "none" else quote,
        options.get("has_header"),
        options.get("skip_lines"),
        options.get("sheet"),
    )


def columns_named(options: StoredOptions) -> Iterator[ColumnName]:
    """Return the columns that the options name, whatever for."""
    for name, value in options.items():
        if isinstance(value, str | int) and (name == "column" or name.endswith("_column")):
            yield value
        elif name.endswith("_columns") and isinstance(value, Mapping):
            yield from value.values()
        elif name.endswith("_columns") and isinstance(value, list):
            yield from value


def sorter(table: Table, options: StoredOptions, *, queried: bool = False, seed: int = 0) -> Sorter:
    """Return what sorts the rows of the table.

    Args:
        table: that is read.
        options: of the import.
        queried: whether values are taken as they are, without the marks of spreadsheets.
        seed: of the draw keys; 0 where nothing is merged.

    Raises:
        ImportUndecidedError: the file leaves open what the options do not say.
    """
    wanted = options.get("column")
    is_open = wanted is None and queried and not table.sample  # of no row it need not be known
    if not is_open:
        questions.ask(table.open_questions(wanted))
    column = 0 if is_open else table.column(wanted)
    expiry = options.get("expires_at_column")
    judged = not table.own and not options.get("accept_suspicious")
    sample = [row[column] for row in table.sample if column < len(row)]
    heading = code_of(table.header[column]) if table.header and column < len(table.header) else None
    marks = Marks.NONE if queried and not table.own else table.marks
    return Sorter(
        column,
        None if expiry is None else table.column(expiry),
        Shapes.for_values([code for code in map(code_of, sample) if code]) if judged else None,
        heading if judged and heading else None,
        marks,
        tuple(attributes(table, options)),
        zone_of(options),
        options.get("date_format"),
        past(table, options, None if is_open else column, marks),
        seed & 0xFFFFFFFF,
        [table.aside] if table.aside is not None and judged else [],
    )


def zone_of(options: StoredOptions) -> tzinfo:
    """Return the zone of times that name none."""
    return ZoneInfo(zone) if (zone := options.get("timezone")) else UTC


def past(table: Table, options: StoredOptions, codes: int | None, marks: Marks) -> Past | None:
    """Return what is told of codes that were given elsewhere; None where no column is named for it.

    Args:
        table: that is read.
        options: of the import.
        codes: the column that holds them; None where it need not be known.
        marks: what may stand around values.

    Raises:
        ImportUndecidedError: there is no such column.
        UnreadableError: the column of the codes is named for who has them: an undo would not take that back.
    """
    wanted = [options.get(name) for name in PAST]
    if all(name is None for name in wanted):
        return None
    customer, campaign, assigned, redeemed, valid_from = (
        None if name is None else table.column(name) for name in wanted
    )
    check_holders(codes, (customer, campaign))
    now = datetime.fromisoformat(options["judged_at"]) if "judged_at" in options else clock.now()
    return Past(
        *(customer, campaign, assigned, redeemed, valid_from),
        *(zone_of(options), options.get("date_format"), now, marks),
    )


def check_holders(codes: ColumnName | None, holders: Sequence[ColumnName | None]) -> None:
    """Refuse the column of the codes as one of those that say who has them, in the order of `HOLDERS`.

    Raises:
        UnreadableError: it is: an undo would not take that back.
    """
    for name, place in zip(HOLDERS, holders, strict=True):
        if place is not None and place == codes:
            raise UnreadableError(f"`{name}` is the column that holds the codes: it cannot say who has them.")


def attributes(table: Table, options: StoredOptions) -> Iterator[tuple[str, int]]:
    """Yield name and place of each column that is taken besides the codes; of those that share a name, its index too.

    Raises:
        ImportUndecidedError: there is no such column.
    """
    header = dict(enumerate(map(name_of, table.header or [])))
    places = dict.fromkeys(table.column(wanted) for wanted in options.get("attribute_columns") or ())
    shared = Counter(header.get(place) for place in places)
    for place in places:
        name = header.get(place) or str(place)
        yield f"{name} ({place})" if shared[name] > 1 else name, place


def check_rows(table: Table, sorter: Sorter) -> None:
    """Read as far as there are rows, but not far through blank lines, and sort the first of them.

    Raises:
        UnreadableError: there is none, or they cannot be read.
    """
    read, found = 0, False
    for number, batch in enumerate(table.batches, 1):
        sorted_ = sorter.sort(batch)
        read += len(batch.rows)
        found = found or bool(sorted_.rejects or sorted_.given or any(sorted_.shares))
        if (found and read >= CHECKED_ROWS) or number == CHECKED_BATCHES:
            return
    if not found:
        raise no_rows()


def no_rows() -> UnreadableError:
    """Return the error that there is a header and nothing else."""
    return UnreadableError("The file has a header, but no row below it.")


def beside(table: Table, options: StoredOptions, column: int) -> list[str]:
    """Return the columns that hold something and are not imported: by name, or index where they have none."""
    used = {column} | {table.column(named) for named in columns_named(options)}
    return [
        other.name or str(other.index)
        for other in table.columns
        if other.index not in used and (other.name or other.holds != "nothing")
    ]


def suspicious_in_sample(table: Table, column: int) -> list[tuple[int, str]]:
    """Return what is unlike the rest of the first rows, with its place among them, as a preview shows it."""
    judge = sorter(table, {"column": column, "has_header": table.format.has_header})
    if judge.shapes is None:
        return []
    codes = [(place, code_of(row[column])) for place, row in enumerate(table.sample) if column < len(row)]
    filled = [(place, code) for place, code in codes if fault(code) is None]
    judge.shapes.add([place for place, _ in filled], [code for _, code in filled])
    return judge.shapes.unlike()
