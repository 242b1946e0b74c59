"""Every benchmark in one run: `python -m benchmarks.all [--quick]`. Writes `docs/figures.md` and README's table.

Nothing there is typed: the first table of the page is made of the ratios that the benchmarks print beside their goals,
the others are theirs. All at default settings, log level included; the service draws from imported pools, each request
has a customer of its own. `--quick` makes fewer and shorter rounds, and imports 2 instead of 20 million codes; the
page says what was run. `--only events bulk` makes these parts again, and leaves the others as they are.
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path

from benchmarks import goals, harness

PAGE = Path(__file__).parent.parent / "docs/figures.md"
QUICK = ["--rounds", "3", "--seconds", "3"]
RUNS: dict[str, tuple[str, list[str], list[str]]] = {
    "Beside a constant answer": ("wire", [], QUICK),
    "Single assigns over HTTP": ("assign", [], QUICK),
    "Bulk assigns": ("bulk", [], QUICK),
    "Messages": ("render", [], ["--rounds", "5", "--seconds", "3"]),
    "Events": ("events", [], QUICK),
    "The log of requests": ("logged", ["--rounds", "15"], ["--rounds", "15", "--seconds", "2"]),
    "Imports": (
        "imports",
        ["--rows", "1000000", "20000000"],
        ["--rows", "1000000", "2000000", "--rounds", "3"],
    ),
    "Assigns beside imports": ("beside", [], ["--rows", "2000000", "--after", "30"]),
    "What a code takes on the disk": ("sizes", [], ["--codes", "100000"]),
    "A large pool": ("large", [], ["--codes", "2200000", "--given", "2000000", "--rounds", "5"]),
}
"""By title: the benchmark, its options in the whole form and in the quick one."""

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"(?<=<!-- made by benchmarks\.all -->\n).*?(?=<!-- end -->)", re.DOTALL)
HEADLINES = {
    "this service, 2 processes, 64 connections": "single assigns over HTTP, 64 connections | {0} a second",
    "Y1": "… against `pgbench` with single claims straight into PostgreSQL | {1} times",
    "this service, 1,000 items": "bulk assigns, 1,000 a request | {0} codes a second: {1} times the statement alone",
    "this service: HTTP": "10,000 messages in one request | {0} s: {2} times plain Jinja2 that draws nothing",
    "1000000": "import of 1,000,000 codes by upload | {1} s: {2} times `COPY` into the same table; {5} MiB at most",
}
"""By the beginning of a row of the page: what the README says of it, with the cells after the first."""


def headlines(page: str) -> str:
    """Return the README's table, made of the rows of the page.

    Raises:
        LookupError: the page lacks a row.
    """
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in page.splitlines()
        if line.startswith("|")
    ]
    on = re.search(r"^.+ cores, .+ fsync on", page, re.MULTILINE)
    made = [on[0] if on else "", "", "| what | figure |", "|---|---|"]
    for beginning, said in HEADLINES.items():
        row = next((row for row in rows if row[0].startswith(beginning)), None)
        if row is None:
            raise LookupError(f"no row begins with {beginning!r}")
        made.append(f"| {said.format(*row[1:])} |")
    return "\n".join(made) + "\n"


@dataclass(frozen=True)
class Part:
    """What a benchmark has printed."""

    title: str
    command: str
    seconds: float
    printed: str


def page_of(parts: Sequence[Part], command: str) -> str:
    """Return the page: all goals first, then what else each part has printed.

    Raises:
        LookupError: a part lacks a row.
    """
    head = (
        f"# Figures\n\nMade by `{command}` on {datetime.now(UTC):%Y-%m-%d}; each part says by which command, on what,"
        " and in how many rounds. Ratios are those of the medians of one run on one machine, the spread is that of"
        " single rounds; absolute figures are that machine's. Default settings, the level of the log included; but no"
        " daily backup, which a new service makes after ten minutes, in the middle of the longer ones.\n\n"
        f"{harness.machine()}\n\n{goals.collect(''.join(part.printed for part in parts))}\n"
    )
    return "\n".join([head, *map(_section, parts)])


def page_with(page: str, part: Part) -> str:
    """Return the page with a part that was made again, which says when."""
    again = replace(part, command=f"{part.command}` again on `{datetime.now(UTC):%Y-%m-%d}")
    section = re.compile(rf"^## {re.escape(part.title)}\n.*?(?=\n## |\Z)", re.MULTILINE | re.DOTALL)
    return section.sub(lambda _: _section(again), goals.renew(page, part.printed))


def _section(part: Part) -> str:
    rest = goals.PRINTED.sub("", part.printed).strip()
    return f"## {part.title}\n\n`python -m {part.command}`, {part.seconds:.0f} s\n\n{rest}\n"


def _run(command: list[str]) -> str:
    """Run a benchmark; show what it prints as it comes, and return it.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    said = []
    with subprocess.Popen(
        [sys.executable, "-u", "-m", *command], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="", flush=True)
            said.append(line)
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, running.args)
    return "".join(said)


def main() -> None:
    """Run, and write the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="fewer rounds, and smaller imports")
    options.add_argument(
        "--only", choices=[name for name, *_ in RUNS.values()], nargs="+", help="make these parts again"
    )
    arguments = options.parse_args()
    parts = []
    for title, (name, whole, quick) in RUNS.items():
        if arguments.only and name not in arguments.only:
            continue
        command = [f"benchmarks.{name}", *(quick if arguments.quick else whole)]
        started = time.monotonic()
        said = _run(command)
        parts.append(Part(title, " ".join(command), time.monotonic() - started, said))
    if arguments.only:
        page = reduce(page_with, parts, PAGE.read_text())
    else:
        page = page_of(parts, "python -m benchmarks.all" + (" --quick" if arguments.quick else ""))
    PAGE.write_text(page)
    README.write_text(BLOCK.sub(lambda _: headlines(page), README.read_text()))


if __name__ == "__main__":
    main()
