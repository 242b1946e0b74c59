"""What the log of requests costs at its default level: `python -m benchmarks.logged [--rounds 5] [--seconds 5]`.

Two services in turns, one at the default level and one at WARNING, at which no request is logged; both with their data
in memory, so that processors decide and not the disk. Judged by what an assign takes of them: it wavers less.
"""

from benchmarks import goals, harness, load, wire
from benchmarks.processors import Turn


def main() -> None:
    """Measure and print."""
    rounds, seconds = harness.rounds_and_seconds(__doc__)
    codes = (rounds + 1) * seconds * 20_000
    with (
        wire.pool(harness.service(wire.WORKERS, disk=harness.memory()), codes) as logging,
        wire.pool(harness.service(wire.WORKERS, disk=harness.memory(), log_level="WARNING"), codes) as silent,
    ):
        services = {harness.LOG_LEVEL: logging, "WARNING": silent}
        found: dict[str, list[Turn]] = {level: [] for level in services}
        for number in range(rounds + 1):
            turns = list(services.items())
            for level, service in turns if number % 2 else reversed(turns):
                turn = wire.turn(service, seconds)
                if number:  # the first warms
                    found[level].append(turn)
        agree = harness.books_agree(logging)
    more, less = (wire.costs(turns) for turns in found.values())
    cost = [100 * (a / b - 1) for a, b in zip(more, less, strict=True)]
    slower = [100 * (1 - a / b) for a, b in zip(*map(wire.rates, found.values()), strict=True)]
    print(
        f"{harness.machine()}; data {harness.in_memory()}; load by {load.tool()}; medians of {rounds} rounds\n"
    )
    said = f"throughput less by {harness.median(slower):.1f} %, {min(slower):.1f} to {max(slower):.1f}"
    print(goals.table(goals.row("log", cost, said=said)))
    print(
        harness.table(
            wire.HEAD, [[f"log level {level}", *wire.cells(turns)] for level, turns in found.items()]
        )
    )
    print("\n" + agree)


if __name__ == "__main__":
    main()
