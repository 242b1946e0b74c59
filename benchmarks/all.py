"""Every benchmark in one run: `python -m benchmarks.all [--quick]`. Writes `docs/figures.md` and README's table.

Nothing there is typed. All at default settings, log level included, on imported pools, each request with a customer of
its own. `--quick` makes fewer rounds; the page says what was run.
"""

import argparse
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs/figures.md"
RUNS: dict[str, tuple[str, list[str], list[str]]] = {
    "Single assigns over HTTP": ("assign", ["--rounds", "5"], ["--rounds", "3", "--seconds", "4"]),
    "Bulk assigns": ("bulk", ["--rounds", "5"], ["--rounds", "3", "--seconds", "4"]),
    "Messages": ("render", ["--rounds", "5"], ["--rounds", "3", "--seconds", "4"]),
    "Events": ("events", [], ["--rounds", "3", "--seconds", "4"]),
    "Imports": ("imports", [], ["--rows", "1000000", "--rounds", "3"]),
}


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


def main() -> None:
    """Run, and write the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="fewer rounds")
    arguments = options.parse_args()
    parts = [
        "# Figures\n\nMade by `python -m benchmarks.all"
        + (" --quick" if arguments.quick else "")
        + f"` on {datetime.now(UTC):%Y-%m-%d}; each part says by which command, on what, and in how many rounds."
        " Ratios are of one run on one machine; absolute figures are that machine's.\n"
    ]
    for title, (name, whole, quick) in RUNS.items():
        command = [f"benchmarks.{name}", *(quick if arguments.quick else whole)]
        started = time.monotonic()
        said = subprocess.run(
            [sys.executable, "-m", *command], capture_output=True, text=True, check=True
        ).stdout
        print(said, flush=True)
        seconds = time.monotonic() - started
        parts.append(f"## {title}\n\n`python -m {' '.join(command)}`, {seconds:.0f} s\n\n{said.strip()}\n")
    page = "\n".join(parts)
    PAGE.write_text(page)
    README.write_text(BLOCK.sub(lambda _: headlines(page), README.read_text()))


if __name__ == "__main__":
    main()
