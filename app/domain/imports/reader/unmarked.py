"""What a cell says, without what surrounds it unseen, and without the marks of spreadsheets."""

import re
from enum import Enum

from app.domain.imports.reader.marks import BROKEN
from app.schema.texts import FORMULA, clean_code

_DESTROYED = re.compile(r"-?\d([.,]\d+)?[eE]\+\d{2,3}")
_AS_FORMULA = re.compile(r'="([^"]*)"|=\'([^\']*)\'')


class Marks(Enum):
    """What may stand around a value that is none of it."""

    ANY = "whatever spreadsheets and people put there"
    OWN = "only the mark that an export of this service puts there"
    NONE = "nothing: it comes from a database"


def code_of(cell: str, marks: Marks = Marks.ANY) -> str:
    """Return the code of a cell: without what surrounds it unseen, and without the marks of spreadsheets.

    A `'` in front is the mark of a text, and `="…"` a text as a formula. One `'` is taken off, which is what `inert`
    puts there. What stands in quotes `'…'` keeps them: there the first is no mark.
    """
    code = clean_code(cell.removeprefix(BROKEN))
    if marks is Marks.NONE:
        return code
    if code[:1] == "'" and len(code) > 1 and (code[1] in FORMULA or code[1] == "'" or code[-1] != "'"):
        return code[1:] if marks is Marks.OWN else clean_code(code[1:])
    if marks is Marks.ANY and code[:1] == "=" and (wrapped := _AS_FORMULA.fullmatch(code)):
        return clean_code(wrapped[1] or wrapped[2] or "")
    return code


def is_destroyed(value: str, marks: Marks = Marks.ANY) -> bool:
    """Return whether a value is a long number as a spreadsheet shows it: rounded, its last digits are lost."""
    return marks is Marks.ANY and _DESTROYED.fullmatch(value) is not None
