"""What callers send: texts that the database keeps, and bodies that say nothing unknown."""

import codecs
import math
import unicodedata
from typing import Annotated, ClassVar, Self

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from app.schema.names import visible

NOT_OF_FILES = {"idna", "punycode", "undefined"}
"""What Python knows as encodings, and is for names of hosts or for nothing."""


def known_encoding(name: str) -> str:
    """Return the name of an encoding of texts.

    Raises:
        ValueError: none has this name.
    """
    try:
        "".encode(name)  # raises it also for what turns bytes into bytes
        is_known = codecs.lookup(name).name not in NOT_OF_FILES
    except (LookupError, UnicodeError):
        is_known = False
    if not is_known:
        raise ValueError(f"there is no encoding {name!r}; usual ones are utf-8, windows-1252, utf-16")
    return name


Encoding = Annotated[
    str, StringConstraints(pattern="^[A-Za-z0-9_.: -]{1,40}$"), AfterValidator(known_encoding)
]
"""The name of an encoding, as `utf-8`. The letters of all scripts, forty times, would take 2 MiB of each process."""


class Input(BaseModel):
    """A body of a request: a field that is not known is refused."""

    model_config = ConfigDict(extra="forbid")


class Update(Input):
    """A body that changes a thing: what it leaves out stays."""

    NEVER_NULL: ClassVar[frozenset[str]] = frozenset()
    """Fields that may be left out, but have always a value."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        *names, last = type(self).model_fields
        if not self.model_fields_set:
            raise ValueError(f"say what to change: {', '.join(names)} or {last}")
        for name in sorted(self.model_fields_set & self.NEVER_NULL):
            if getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null: leave it out, and it stays")
        return self


def _no_number(value: object) -> object:
    """Refuse 0 and 1 for no and yes; forms say it in words."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004  (Pydantic takes no TypeError)
    return value


Flag = Annotated[bool, BeforeValidator(_no_number)]
"""Yes or no, where a form may say it too, as `true` or `false`. Where only JSON is read, `StrictBool` does."""


def _no_flag(value: object) -> object:
    """Refuse false and true for 0 and 1; forms write numbers as text."""
    if isinstance(value, bool):
        raise ValueError("must be a whole number")  # noqa: TRY004  (Pydantic takes no TypeError)
    return value


NO_FLAG = BeforeValidator(_no_flag)
"""For a whole number that a form may say too; it stands behind the bounds. Elsewhere `strict=True` does."""


def no_step(value: str) -> str:
    """Refuse what a path cannot name: clients take `.` and `..` for steps."""
    if value in {".", ".."}:
        raise ValueError("'.' and '..' cannot be named in a path")
    return value


MAX_ID_LENGTH = 255
IdText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_LENGTH, pattern=r"^[^\x00]*$")]
Identifier = Annotated[IdText, AfterValidator(no_step)]
"""An id that the caller chose: 1 to 255 characters, no NUL, which PostgreSQL cannot keep; not `.` or `..`."""


MAX_DEPTH = 64
"""How deep lists and objects may be nested in what is stored."""

_TOO_DEEP = f"lists and objects are nested more than {MAX_DEPTH} deep"

CampaignId = Annotated[Identifier, AfterValidator(visible)]
"""An id of a campaign, which people read: in NFC, and all of it is seen."""


Note = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=r"^[^\x00]*$")
]
"""Why somebody does something, in words."""


class Why(Input):
    """Why something is done."""

    reason: Note | None = Field(
        default=None, description="Kept in the history of the code and in the audit; name no person in it"
    )


def _storable(value: dict[str, object]) -> dict[str, object]:
    """Refuse what JSON cannot say or PostgreSQL cannot keep: NaN, NUL, half a surrogate pair."""
    _bound(value, MAX_DEPTH)
    return value


def _bound(value: object, depth: int) -> None:
    """Refuse texts that cannot be kept, numbers that programs cannot hold, and values that are nested without end.

    Numbers of 64 bits are what JSON can be relied on for (RFC 8259, section 6, says why there is a limit at all).
    """
    if isinstance(value, str):
        _bound_text(value)
    elif isinstance(value, dict | list):
        if depth == 0:
            raise ValueError(_TOO_DEEP)
        if isinstance(value, dict):
            for name in value:
                _bound_text(name)
            value = value.values()
        for item in value:
            _bound(item, depth - 1)
    elif isinstance(value, int | float) and not -(2**63) <= value < 2**64:
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("a number is infinite or not a number")
        # PostgreSQL keeps a large floating-point number as the whole number that it is.
        raise ValueError("a number is beyond 64 bits")


def _bound_text(text: str) -> None:
    if "\0" in text:
        raise ValueError("a text holds a NUL character")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError("a text holds half a surrogate pair") from error


Properties = Annotated[dict[str, object], AfterValidator(_storable)]
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


Code = Annotated[Identifier, AfterValidator(clean_code)]
"""A whole code that is looked up: what nobody sees around it does not count."""


def _is_unseen(character: str) -> bool:
    """Return whether a character may go from the ends; control characters that are no white space stay and are told."""
    category = unicodedata.category(character)
    return category in _OUTER and (category != "Cc" or character.isspace())


FORMULA = frozenset("=+-@\t\r\n＝＋－＠")  # noqa: RUF001  (the full-width ones too)
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection)."""


def inert(value: str) -> str:
    """Return a value as a cell that no spreadsheet runs; the reader of imports takes off again what is added.

    A `'` goes in front of a formula, and of a `'`, so that the two are told apart.
    """
    return f"'{value}" if value[:1] in FORMULA or value[:1] == "'" else value


def _http_url(url: str) -> str:
    try:
        AnyHttpUrl(url)
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"]) from error
    return url


WebhookUrl = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_http_url)]
"""Where messages are sent; whether it may be called is asked when they are."""
