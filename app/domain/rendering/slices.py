"""Many messages in slices that are rendered side by side, each with codes of its own."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.rendering.confined.protocol import Answer, NeedsAsJson
from app.domain.rendering.demand import NOTHING
from app.domain.rendering.message_vouchers import MessageVouchers


@dataclass(slots=True)
class Slice:
    """Some of the messages, in their order."""

    place: "slice[int, int, None]"
    wants: Mapping[str, int]
    """By pool: how many new codes they take, as far as is known."""
    codes: dict[str, list[str]] = field(default_factory=dict)
    """What they may take."""
    answer: Answer | None = None

    def note(self, answer: Answer) -> None:
        """Note what a rendering gave: the messages, or what they want."""
        self.wants = answer["needs"]["codes"]
        if "results" in answer:
            self.answer = answer

    def used(self) -> set[str]:
        """Return the codes that its messages show."""
        results = self.answer["results"] if self.answer else ()
        return {use[2] for result in results for use in result.get("uses", ())}


class Slices:
    """All messages of a transaction.

    Args:
        messages: how many there are.
        size: how many are in a slice.
        each: by pool, how many codes a message takes, as far as is known.
        vouchers: what they draw from.
    """

    def __init__(
        self, messages: int, size: int, each: Mapping[str, float], vouchers: MessageVouchers
    ) -> None:
        self._vouchers = vouchers
        self._all = []
        for start in range(0, messages, size):
            place = slice(start, min(start + size, messages))
            count = place.stop - place.start
            wants = {
                pool: max(0, math.ceil(n * count) - vouchers.given_of(pool, place))
                for pool, n in each.items()
            }
            self._all.append(Slice(place, wants))

    @property
    def waiting(self) -> list[Slice]:
        """Return those that are not rendered yet."""
        return [each for each in self._all if each.answer is None]

    @property
    def begun(self) -> bool:
        """Return whether some are rendered."""
        return any(each.answer is not None for each in self._all)

    def wanted(self) -> dict[str, int]:
        """Return how many codes of each pool all of them take."""
        codes: dict[str, int] = defaultdict(int)
        for each in self._all:
            for pool, n in each.wants.items():
                codes[pool] += n
        return codes

    def deal(self) -> None:
        """Give each that is not rendered yet its codes; the others keep what they used."""
        waiting = self.waiting
        used = {code for each in self._all for code in each.used()}
        for pool in {pool for each in waiting for pool in each.wants}:
            free = [code for code in self._vouchers.free_of(pool) if code not in used]
            start = 0
            for each in waiting:
                end = start + each.wants.get(pool, 0)
                each.codes[pool] = free[start:end]
                start = end

    def answer(self) -> Answer:
        """Return the answers of all as one."""
        answers = [each.answer for each in self._all if each.answer is not None]
        results = [result for answer in answers for result in answer["results"]]
        return {"results": results, "needs": total([answer["needs"] for answer in answers])}


def total(needs: Sequence[NeedsAsJson]) -> NeedsAsJson:
    """Return what several slices need, together."""
    codes: dict[str, int] = defaultdict(int)
    occurrences: dict[str, int] = {}
    for each in needs:
        for pool, n in each["codes"].items():
            codes[pool] += n
        for key, highest in each["occurrences"].items():
            occurrences[key] = max(highest, occurrences.get(key, 0))
    return {
        **NOTHING,
        "codes": codes,
        "occurrences": occurrences,
        "aggregates": sorted({name for each in needs for name in each["aggregates"]}),
        "seen": any(each["seen"] for each in needs),
    }
