"""What callers send: texts that the database keeps, and bodies that say nothing unknown."""

import json
import re
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints


class Input(BaseModel):
    """A body of a request: a field that is not known is refused."""

    model_config = ConfigDict(extra="forbid")


Identifier = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
"""An id that the caller chose: 1 to 255 characters, no NUL, which PostgreSQL cannot keep."""


def _storable(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse what JSON cannot say or PostgreSQL cannot keep: NaN, NUL, half a surrogate pair."""
    try:
        written = json.dumps(value, ensure_ascii=False, allow_nan=False)
        written.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a text holds half a surrogate pair") from error
    except ValueError as error:
        raise ValueError("a number is infinite or not a number") from error
    if _NUL.search(written):
        raise ValueError("a text holds a NUL character")
    return value


_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
Properties = Annotated[dict[str, Any], AfterValidator(_storable)]
"""Names and values, any JSON."""


_OUTER = {"Cc", "Cf", "Zs", "Zl", "Zp"}
"""Categories of characters that nobody sees: white space, and what only says how text is laid out."""


def clean_code(text: str) -> str:
    """Return a code without what surrounds it unseen: white space and format characters of every kind."""
    text = text.strip()
    if text.isascii() and (not text or text.isprintable()):
        return text
    start, end = 0, len(text)
    while start < end and _is_unseen(text[start]):
        start += 1
    while end > start and _is_unseen(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_unseen(character: str) -> bool:
    """Whether a character may go from the ends; control characters that are no white space stay, and are told."""
    category = unicodedata.category(character)
    return category in _OUTER and (category != "Cc" or character.isspace())


FORMULA = frozenset("=+-@\t\r\n＝＋－＠")  # noqa: RUF001  (the full-width ones too)
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection)."""


def inert(value: str) -> str:
    """Return a value as a cell that no spreadsheet runs; the reader of imports takes off again what is added.

    A `'` goes in front of a formula, and of a `'`, so that the two are told apart.
    """
    return f"'{value}" if value[:1] in FORMULA or value[:1] == "'" else value
