"""Every benchmark in one run: `python -m benchmarks.all [--quick]`. Writes `docs/figures.md`; nothing there is typed.

All at default settings, log level included. `--quick` makes fewer rounds; the page says what was run.
"""

import argparse
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
    "Imports": ("imports", [], ["--rows", "1000000", "--rounds", "3"]),
}


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
    PAGE.write_text("\n".join(parts))


if __name__ == "__main__":
    main()
