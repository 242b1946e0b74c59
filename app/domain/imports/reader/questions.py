"""What a file does not show, and what the caller may answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from app.domain.imports.errors import ImportUndecidedError
from app.domain.imports.reader.columns import Column
from app.domain.imports.reader.marks import seen

MOST_OF_A_CELL = 40
"""Characters of a value that are shown."""
MOST_COLUMNS = 12


@dataclass(frozen=True, slots=True)
class Question:
    """Something that has to be decided by who knows the file."""

    reason: str
    """`column`, `has_header`, `sheet` or `not_a_list`."""
    text: str
    answer: str
    """The option that answers it."""
    choices: Sequence[Mapping[str, object]]


def which_column(columns: Sequence[Column]) -> Question:
    """Ask for the column of the codes."""
    listed = "; ".join(
        f"{column.index}{f' {column.name!r}' if column.name else ''}: {_values(column.first_values)}"
        for column in columns[:MOST_COLUMNS]
    )
    if len(columns) == 1:
        only = columns[0]
        sentences = only.holds in {"sentences", "items of a list"}
        seem = {
            "sentences": "The lines look like sentences",
            "items of a list": "The lines begin with a number or a sign each",
        }.get(only.holds, f"The only column seems to hold {only.holds}")
        text = f"{seem}, not codes ({_values(only.first_values)}). Give `column` 0 if they are codes."
        return Question("not_a_list" if sentences else "column", text, "column", _choices(columns))
    text = f"It cannot be told which column holds the codes. Give `column`, by name or index: {listed}."
    return Question("column", text, "column", _choices(columns))


def whether_header(first: Sequence[str], second: Sequence[str]) -> Question:
    """Ask whether the first row names the columns."""
    text = (
        f"It cannot be told whether the first row ({_values(first)}) names the columns or holds a code"
        f" like the next ({_values(second)}). Give `has_header` true or false."
    )
    choices = tuple(
        {"has_header": headed, "first_row": [seen(cell)[:MOST_OF_A_CELL] for cell in first]}
        for headed in (True, False)
    )
    return Question("has_header", text, "has_header", choices)


class Sheet(TypedDict):
    """A sheet of a file, as a question shows it."""

    index: int
    name: str
    first_row: list[str]


def which_sheet(sheets: Sequence[Sheet]) -> Question:
    """Ask for the sheet of the codes."""
    listed = "; ".join(
        f"{sheet['index']} {sheet['name']!r}: {_values(sheet['first_row'])}" for sheet in sheets
    )
    text = f"Several sheets hold something. Give `sheet`, by name or index: {listed}."
    return Question("sheet", text, "sheet", _sheets(sheets))


def no_sheet(detail: str, sheets: Sequence[Sheet]) -> ImportUndecidedError:
    """Return the error that a named sheet is not there, with those that are."""
    return ImportUndecidedError(detail, choices={"sheet": list(_sheets(sheets))})


def _sheets(sheets: Sequence[Sheet]) -> tuple[Mapping[str, object], ...]:
    return tuple(
        {
            "index": sheet["index"],
            "name": seen(sheet["name"]),
            "first_row": [seen(cell)[:MOST_OF_A_CELL] for cell in sheet["first_row"][:MOST_COLUMNS]],
        }
        for sheet in sheets
    )


def ask(questions: Sequence[Question]) -> None:
    """Put the questions to the caller, if there are any.

    Raises:
        ImportUndecidedError: there are.
    """
    if questions:
        text = " ".join(question.text for question in questions)
        raise ImportUndecidedError(
            text, choices={question.answer: list(question.choices) for question in questions}
        )


def no_column(detail: str, columns: Sequence[Column]) -> ImportUndecidedError:
    """Return the error that a named column is not there, with those that are."""
    return ImportUndecidedError(detail, choices={"column": list(_choices(columns))})


def _choices(columns: Sequence[Column]) -> tuple[dict[str, object], ...]:
    return tuple(
        {
            "index": column.index,
            "name": column.name or None,
            "first_values": [seen(value)[:MOST_OF_A_CELL] for value in column.first_values],
        }
        for column in columns
    )


def _values(values: Sequence[str]) -> str:
    return ", ".join(repr(seen(value)[:MOST_OF_A_CELL]) for value in values[:3]) or "empty"
