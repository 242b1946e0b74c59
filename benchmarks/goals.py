"""What the benchmarks are judged by: ratios of one run on one machine, each beside its goal, and whether it is met.

A benchmark prints its rows by `table`; `python -m benchmarks.all` puts those of all of them into one, in this order.
"""

import re
from collections.abc import Sequence

from benchmarks import harness

HEAD = ("what", "measured", "goal", "met", "spread")
PRINTED = re.compile(
    r"^\| what \| measured \| goal \| met \| spread \|\n\|[- |]+\n((?:\|.*\n)+)\n*", re.MULTILINE
)
NUMBER = r"-?[\d,]+(?:\.\d+)?"

GOALS = {
    "processors": ("CPU of all processes for one assign, 64 connections / for one constant answer", "≤ 2"),
    "throughput": ("single assign / constant answer, throughput, data folder in memory", "≥ 0.5"),
    "one connection": (
        "single assign, one connection / one claim by `pgbench -c 1`, time",
        "≤ 1.3, or ≥ 1,200/s",
    ),
    "latencies at half": ("p99 / p50 at 64 connections, half of the top rate", "≤ 2.5"),
    "latencies at full": ("p99 / p50 at 64 connections, full load", "≤ 2.5"),
    "bulk": ("bulk, 1,000 a request / the statement itself", "≥ 1.2"),
    "render": ("single render / single assign", "≥ 0.5"),
    "batch": ("batch render of 10,000 / plain Jinja2 in one process, time", "≤ 1.0"),
    "event": ("single event over HTTP, 64 connections / single assign", "≥ 0.6"),
    "events": ("1,000 events a request, four clients / the bare insert of the same rows", "≥ 0.4"),
    "redeeming": ("the same, each redeeming a code / not redeeming", "≥ 0.5"),
    "log": ("the request log at its default level, CPU of an assign, per cent", "≤ 5"),
    "import": ("import of {size} codes / `COPY` into the same table, time", "≤ 1.1"),
    "large import": ("import of {size} codes, time for each / of {than}", "≤ 1.3"),
    "meanwhile": ("assigns in another pool while {size} codes are imported, p99 / idle", "≤ 3"),
    "after": ("assigns in that pool in the {minute} after / in a pool of 200,000", "≥ 0.9"),
    "counts": ("counts while 1 M codes are imported, p99 / idle", "≤ 1.5"),
    "same pool": ("assigns while 1 M codes are imported into the same pool / idle", "≥ 0.8"),
    "large assigns": ("assigns from a pool of {size} codes / from one of 20,000", "≥ 0.85"),
    "large keyed assigns": ("the same, each with an `Idempotency-Key` of its own", "≥ 0.85"),
    "large counts": ("counts of a pool of {size} codes / of one of 20,000, time", "≤ 1.5"),
    "imported": ("bytes a code, imported", "≤ 170"),
    "assigned": ("bytes a code, assigned", "≤ 330"),
}
"""By name: what is measured, and the goal."""


def row(
    name: str,
    first: Sequence[float],
    second: Sequence[float] | None = None,
    *,
    said: str = "",
    **words: str,
) -> list[str]:
    """Return the row of a goal: the ratio of the medians, and how far the ratios of single rounds lie apart.

    Where there is no second, the first are the figures themselves. `said` explains the ratio; `words` fill the name.
    """
    what, goal = GOALS[name]
    base = second or [1.0] * len(first)
    ratio = _number(harness.median(first) / harness.median(base))
    measured = f"{ratio} ({said})" if said else ratio
    each = [a / b for a, b in zip(first, base, strict=True)]
    spread = (
        f"{_number(min(each))} to {_number(max(each))}, {len(each)} rounds" if len(each) > 1 else "one round"
    )
    return [what.format(**words), measured, goal, met(measured, goal), spread]


def met(measured: str, goal: str) -> str:
    """Return `yes` or `no`: whether a goal is met by what was measured, both as the table shows them.

    One of several goals is enough. One with a unit is compared with the first figure that has it.

    Raises:
        ValueError: the goal is none that a figure can be compared with.
    """

    def reaches(one: str) -> bool:
        goal = re.fullmatch(rf"([≤≥]) ({NUMBER})(\S*)", one)
        if goal is None:
            raise ValueError(one)
        figure = re.search(f"({NUMBER}){re.escape(goal[3])}", measured)
        if figure is None:
            return False
        value, bound = (float(text.replace(",", "")) for text in (figure[1], goal[2]))
        return value <= bound if goal[1] == "≤" else value >= bound

    return "yes" if any(map(reaches, goal.split(", or "))) else "no"


def table(*rows: Sequence[str]) -> str:
    """Return a table of such rows, with an empty line after it."""
    return harness.table(HEAD, rows) + "\n"


def collect(printed: str) -> str:
    """Return one table of all rows in what the benchmarks have printed.

    Raises:
        LookupError: there is none for one of the goals.
    """
    found = _found(printed)
    for name, (what, _) in GOALS.items():
        if not found[name]:
            raise LookupError(f"nothing says: {what}")
    return "\n".join([harness.table(HEAD, []), *(line for lines in found.values() for line in lines)])


def renew(page: str, printed: str) -> str:
    """Return a page that has a table of all goals with the rows in what was printed in the place of its own.

    All rows are judged anew.

    Raises:
        LookupError: the page has no row for one that was printed.
    """
    new = {name: lines[0] for name, lines in _found(printed).items() if lines}
    patterns = {name: re.compile(_pattern(name)) for name in GOALS}

    def newest(line: str) -> str:
        name = next((name for name, pattern in patterns.items() if pattern.match(line)), None)
        return line if name is None else _judged(new.pop(name, line))

    renewed = "\n".join(map(newest, page.split("\n")))
    if new:
        raise LookupError(f"no row of the page is about: {', '.join(new)}")
    return renewed


def _judged(line: str) -> str:
    what, measured, goal, _, spread = line.strip("| ").split(" | ")
    return harness.table([what, measured, goal, met(measured, goal), spread], []).splitlines()[0]


def _found(printed: str) -> dict[str, list[str]]:
    lines = [line for lines in PRINTED.findall(printed) for line in lines.splitlines()]
    return {name: [line for line in lines if re.match(_pattern(name), line)] for name in GOALS}


def _pattern(name: str) -> str:
    """Return what begins the row of a goal, whatever its size."""
    return r"\| " + re.sub(r"\\\{\w+\\\}", ".+", re.escape(GOALS[name][0])) + r" \|"


def size(n: int) -> str:
    """Return a number of codes as the goals say it."""
    return f"{n / 1e6:g} M"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
