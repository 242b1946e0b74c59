"""How often a process looks for objects that only refer to each other."""

import gc


def collect_rarely() -> None:
    """Leave what is loaded by now, which stays, out of the collector's rounds, and make those rarer.

    An import made them once for a few hundred of its rows: two thirds of the time in which it parsed.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
