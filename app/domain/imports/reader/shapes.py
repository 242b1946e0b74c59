"""Which values of a column are unlike the rest: shapes are counted while the rows stream by, in bounded memory.

A shape is a value with its letters and digits each made one: `SAVE-10` is `AAAA-99`. Random codes have a shape each,
so capitals and digits are made one where that is needed (`XXXX-XX`), and in the end all that is a letter or digit.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from app.domain.imports.reader import words

WRITTEN = {"a", "A", "é", " ", ":", ",", ".", "(", ")", "?", '"', "#", "'"}
"""Signs of what people write, which a random code does not happen to have once."""
RARE = 20
"""Values of a shape that are kept: beyond so many it is one of the usual shapes of the file."""
SHAPES = 2000
"""Shapes that are told apart: beyond so many they are told apart less finely."""
SHARE = 0.02
"""The part of a file that is 'a few'."""
FIXED = 0.98
"""The part of a file that has to have one length, for others to be unlike it."""
SOME = 10
"""Values that make a rule of a length."""
SAMPLE = 500

_UPPER, _LOWER, _DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789"


def _table(upper: str, lower: str, digit: str) -> dict[int, int]:
    return str.maketrans(_UPPER + _LOWER + _DIGITS, upper * 26 + lower * 26 + digit * 10)


LEVELS = [_table("A", "a", "9"), _table("9", "a", "9"), _table("A", "9", "9"), _table("9", "9", "9")]
"""Ever less fine."""
LETTERS = {"a", "A", "é"}
"""Signs of letters, as `Traits` has them."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What is looked at in a value."""

    length: int
    signs: frozenset[str]
    """Kinds of characters in it: `a`, `A`, `9`, `é` for other letters (and the script of those that are not Latin),
    and each other sign as it is."""

    @classmethod
    def of(cls, value: str) -> "Traits":
        """Return those of a value."""
        signs = frozenset(map(_sign, set(value)))
        return cls(len(value), signs | {"é"} if any(len(sign) > 1 for sign in signs) else signs)


def _sign(character: str) -> str:
    if character.isascii():
        return str(character.translate(LEVELS[0]))
    if character.isalpha():
        script = unicodedata.name(character, "?").partition(" ")[0]
        return "é" if script == "LATIN" else script + "…"
    return "9" if character.isdigit() else character


@dataclass(slots=True)
class Shapes:
    """The shapes of a column."""

    level: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    kept: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    """The first values of each shape, with their lines."""
    hopeless: bool = False
    """Whether there are too many shapes for any to be a rule."""

    @classmethod
    def for_values(cls, values: Sequence[str]) -> "Shapes":
        """Return a count that is as fine as these first values allow; they are not counted yet."""
        values = values[:SAMPLE]
        for level, table in enumerate(LEVELS):
            if len({value.translate(table) for value in values}) <= max(5, len(values) / 10):
                return cls(level)
        return cls(level=0 if len(values) < 50 else len(LEVELS) - 1)  # noqa: PLR2004

    def found(self, codes: Sequence[str]) -> tuple[list[str] | None, Counter[str]]:
        """Return the shapes of codes, None where all have the same, and how many there are of each."""
        text = "\n".join(codes).translate(LEVELS[self.level])
        first = text.partition("\n")[0]
        if text == f"{first}\n" * (len(codes) - 1) + first:
            return None, Counter({first: len(codes)})
        shapes = text.split("\n")
        return shapes, Counter(shapes)

    def add(
        self,
        lines: Iterable[int],
        codes: Sequence[str],
        known: tuple[list[str] | None, Counter[str]] | None = None,
    ) -> None:
        """Count codes, and keep those whose shape is rare so far; `known` is what `found` says of them."""
        if self.hopeless or not codes:
            return
        shapes, found = self.found(codes) if known is None else known
        rare = {shape for shape in found if self.counts[shape] < RARE}
        self.counts.update(found)
        if rare:
            for line, code, shape in zip(lines, codes, shapes or [*found] * len(codes), strict=True):
                if shape in rare:
                    kept = self.kept.setdefault(shape, [])
                    if len(kept) < RARE:
                        kept.append((line, code))
            if len(self.counts) > SHAPES:
                self._coarsen()

    def _coarsen(self) -> None:
        while len(self.counts) > SHAPES and not self.hopeless:
            if self.level == len(LEVELS) - 1:
                self.hopeless = True
                self.counts.clear()
                self.kept.clear()
                return
            self.level += 1 if self.level == 0 else len(LEVELS) - 1 - self.level
            counts: Counter[str] = Counter()
            kept: dict[str, list[tuple[int, str]]] = {}
            for shape, count in self.counts.items():
                coarse = shape.translate(LEVELS[self.level])
                counts[coarse] += count
                kept[coarse] = (kept.get(coarse, []) + self.kept.get(shape, []))[:RARE]
            self.counts, self.kept = counts, kept

    def unlike(self) -> list[tuple[int, str]]:
        """Return the lines and values that are unlike the rest."""
        rule = Rule(self)
        return [
            item
            for shape, items in self.kept.items()
            if self.counts[shape] <= min(RARE, rule.few)
            for item in items
            if rule.is_unlike(item[1], self.counts[shape])
        ]


class Rule:
    """What most values of a column have in common."""

    def __init__(self, shapes: Shapes) -> None:
        self.total = sum(shapes.counts.values())
        self.few = max(1.0, SHARE * self.total) + 1e-6
        self.signs: dict[str, float] = defaultdict(float)
        self.lengths: dict[int, float] = defaultdict(float)
        self.without_digit = self.without_letter = 0.0
        self.shapes, self.level = shapes.counts, shapes.level
        for shape, items in shapes.kept.items():
            weight = shapes.counts[shape] / len(items)
            for _, value in items:
                traits = Traits.of(value)
                for sign in traits.signs:
                    self.signs[sign] += weight
                self.lengths[traits.length] += weight
                self.without_digit += weight * ("9" not in traits.signs)
                self.without_letter += weight * (not traits.signs & LETTERS)
        self.length = max(self.lengths, key=self.lengths.__getitem__, default=0)
        at_length = self.lengths.get(self.length, 0.0)
        self.fixed = self.total >= SOME and at_length >= min(FIXED * self.total, self.total - 1) - 1e-6
        self.longest = max(
            (length for length, weight in self.lengths.items() if weight > self.few), default=0
        )
        self.uniform = max(shapes.counts.values(), default=0) >= self.total / 2

    def is_unlike(self, value: str, count: int = 1) -> bool:
        """Return whether a value that is among those counted, `count` times in its shape, is unlike the others."""
        if words.is_placeholder(value):
            return True
        if self.total - count < 2:  # noqa: PLR2004  (one value is no rule)
            return False
        traits = Traits.of(value)
        strange = {sign for sign in traits.signs if self.signs.get(sign, 0) <= self.few}
        regular = self.level == 0 and self.uniform and self.total >= SOME
        if traits.length == self.length and not strange & WRITTEN and not regular:
            return False  # random codes happen to have no digit, or nothing else
        return (
            bool(strange and (self.uniform or strange - {"9", "-", "_"}))
            or (" " in value and words.TOTALS.fullmatch(value) is not None)
            or self._lacks(traits)
            or self._is_of_another_length(value)
        )

    def _lacks(self, traits: Traits) -> bool:
        """Return whether it has no digit where the others have one, or no letter."""
        no_digit = self.without_digit <= self.few and "9" not in traits.signs
        return no_digit or (self.without_letter <= self.few and not traits.signs & LETTERS)

    def _is_of_another_length(self, value: str) -> bool:
        if self.fixed and len(value) != self.length:
            return not self._counts_on(value)
        return 0 < 3 * self.longest < len(value)

    def _counts_on(self, value: str) -> bool:
        """Return whether a value differs in the digits of a number alone, as `SAVE-1000` after `SAVE-999`."""
        own = _collapsed(value.translate(LEVELS[0]))
        return (
            self.level == 0
            and own != "9"
            and abs(len(value) - self.length) == 1
            and any(_collapsed(shape) == own for shape in self.shapes if len(shape) == self.length)
        )


def _collapsed(shape: str) -> str:
    return re.sub(r"9+", "9", shape)
