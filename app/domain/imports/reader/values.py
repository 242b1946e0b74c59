"""What the values of a column are: codes, or dates, amounts, names, …, which no code is."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

DATE = re.compile(
    r"\d{4}[-./]\d{1,2}[-./]\d{1,2}([ T]\d.*)?|\d{1,2}[-./]\s?\d{1,2}[-./]\s?\d{2,4}([ T,].*)?"
    r"|\d{1,2}\.?[ -][^\W\d_]{3,9}\.?[ -,]+\d{4}|[^\W\d_]{3,9} \d{1,2}, \d{4}"
)
_CURRENCY = "EUR|USD|GBP|CHF|CZK|PLN|SEK|NOK|DKK|HUF|RON|TRY|RUB|UAH|JPY|CNY|KRW|BGN|ILS|AUD|CAD|[€$£¥₽₴]"
AMOUNT = re.compile(
    rf"[-+]?({_CURRENCY})?\s?\d{{1,3}}([., '\u00a0]?\d{{3}})*([.,]\d{{1,2}})?\s?(%|{_CURRENCY}|Kč|zł|kr\.?|Ft)?"
    r"|\d{1,6}[.,]\d{1,4}|\d{1,5}"
)
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
URL = re.compile(r"(https?|ftp)://\S+|www\.\S+\.\S+", re.IGNORECASE)
ITEM = re.compile(r"(\d{1,6}[.)]|[-*•–—>])\s+\S.*", re.DOTALL)  # noqa: RUF001  (dashes as people type them)
"""A line of a list as people write it: with a number or a sign in front."""
LIST = re.compile(r"\[.*\]|\{.*\}|\(.*,.*\)", re.DOTALL)
WORDS = re.compile(r"\D+|.*[^\W\d_]{3,} [^\W\d_]*[a-z\u00df-\u00ff]{2,}.*", re.DOTALL)
"""No digit, or words of a text."""
ANSWERS = tuple(
    frozenset(together.split())
    for together in (
        "1 0 true false wahr falsch yes no y n ja nein oui non si sí ano ne tak nie on off",
        "active inactive",
        "used unused",
    )
)
"""Answers that stand below each other: `used` over `0` and `1` is their heading, and none of them."""
BOOLEAN = frozenset[str]().union(*ANSWERS)
MOST = 0.8
"""The part of a column that settles what it holds."""
LONG = 8
"""Digits of numbers that nobody counts up to."""
MANY_WORDS = 4.0
"""Words of a value, on average, that make a column one of sentences."""

LOOKED_AT = 300
"""Characters of a value that are looked at: no code has more, and what they are is sought in ways that take long."""

FEW = 3
"""So few values say little of their column."""
FEW_ROWS = 5
NEARLY_EMPTY = 0.1
SHORT = 4
"""Digits from which a number may be a code: counts and sums are shorter."""
STEP = 10
"""Most that one number of a count is beyond the one before."""

Values = Sequence[str]


def holds(values: Values, rows: int) -> str:
    """Return what these values, the filled ones of so many rows, are."""
    if not values:
        return "nothing"
    values = [value[:LOOKED_AT] for value in values]
    for kind, is_so in KINDS:
        if is_so(values):
            return kind
    if rows > FEW_ROWS and len(values) < rows * NEARLY_EMPTY:
        return "few values"
    if _share(values, WORDS) > 1 / 2 and not _uniform(values):
        return "words"
    return "numbers" if all(map(str.isdecimal, values)) and _counting(values) else "codes"


def _share(values: Values, pattern: re.Pattern[str]) -> float:
    return sum(pattern.fullmatch(value) is not None for value in values) / len(values)


def _mostly(pattern: re.Pattern[str]) -> Callable[[Values], bool]:
    return lambda values: _share(values, pattern) >= MOST


def _answers(values: Values) -> bool:
    return len(values) > 1 and sum(value.casefold() in BOOLEAN for value in values) >= MOST * len(values)


def _one_value(values: Values) -> bool:
    return len(values) >= FEW and len(set(values)) == 1


def _whole(values: Values) -> list[str]:
    return [value for value in values if value.isdecimal()]


def _amounts(values: Values) -> bool:
    """Return whether values are sums, shares or counts, not numbers that may be codes."""
    if _share(values, AMOUNT) < MOST:
        return False
    whole = _whole(values)
    short = len(whole) < MOST * len(values) or max(map(len, whole)) < SHORT
    return short or len(set(values)) <= MOST * len(values)


def _long_numbers(values: Values) -> bool:
    whole = _whole(values)
    return (
        _share(values, AMOUNT) >= MOST
        and _one_length(whole)
        and len(whole[0]) >= LONG
        and not _counting(whole)
    )


def _sentences(values: Values) -> bool:
    return sum(len(value.split()) for value in values) >= MANY_WORDS * len(values)


def _repeated(values: Values) -> bool:
    return len(values) > FEW and len(set(values)) < len(values) / 2


def _uniform(values: Sequence[str]) -> bool:
    """Return whether values are capital letters of one length: random ones, no words of a language."""
    lengths = Counter(map(len, values)).most_common(1)[0][1]
    capitals = sum(" " not in value and not value.islower() and not value.istitle() for value in values)
    return min(lengths, capitals) >= MOST * len(values)


def _one_length(values: Sequence[str]) -> bool:
    return Counter(map(len, values)).most_common(1)[0][1] >= MOST * len(values)


def _counting(values: Sequence[str]) -> bool:
    numbers = [int(value[:18]) for value in values]
    return len(numbers) >= FEW and all(0 < after - before <= STEP for before, after in pairwise(numbers))


KINDS: tuple[tuple[str, Callable[[Values], bool]], ...] = (
    ("addresses", _mostly(EMAIL)),
    ("links", _mostly(URL)),
    ("lists", _mostly(LIST)),
    ("items of a list", _mostly(ITEM)),
    ("dates", _mostly(DATE)),
    ("answers", _answers),
    ("one value", _one_value),
    ("amounts", _amounts),
    ("codes", _long_numbers),
    ("numbers", _mostly(AMOUNT)),
    ("sentences", _sentences),
    ("repeated values", _repeated),
)
"""In the order in which they are tried."""
