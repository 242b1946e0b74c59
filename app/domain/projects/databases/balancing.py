"""Which projects should live elsewhere, so that databases come to hold alike, and one that is drained to hold none."""

from collections.abc import Mapping
from dataclasses import dataclass

ENOUGH = 0.1
"""Two databases whose difference is so much of all vouchers are alike."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a database holds: its projects by name, each with its vouchers."""

    projects: Mapping[str, int]
    is_drained: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """A project that should live elsewhere."""

    project: str
    vouchers: int
    source: str
    target: str


def proposals(loads: Mapping[str, Load], stays: str) -> list[Move]:
    """Return what should move, in this order.

    Args:
        loads: of the databases by name.
        stays: the project that is not moved.
    """
    left = {name: dict(load.projects) for name, load in loads.items()}
    takers = [name for name, load in loads.items() if not load.is_drained]
    moves: list[Move] = []

    def total(name: str) -> int:
        return sum(left[name].values())

    def move(project: str, source: str, target: str) -> None:
        left[target][project] = left[source].pop(project)
        moves.append(Move(project, left[target][project], source, target))

    for source in [name for name, load in loads.items() if load.is_drained and takers]:
        for project in sorted(left[source], key=lambda each: -left[source][each]):
            if project != stays:
                move(project, source, min(takers, key=total))
    alike = ENOUGH * sum(map(total, left))
    while len(takers) > 1:
        source, target = max(takers, key=total), min(takers, key=total)
        gap = total(source) - total(target)
        fitting = {name: n for name, n in left[source].items() if 0 < n < gap and name != stays}
        if gap <= alike or not fitting:
            return moves
        # What comes nearest to half of the difference makes the two most alike.
        move(min(fitting, key=lambda each: abs(gap - 2 * fitting[each])), source, target)
    return moves
