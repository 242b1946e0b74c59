"""Draw keys: numbers of 64 bits, evenly spread, in whose order the vouchers of a pool are drawn."""

import random

FIRST = -(2**63)
"""No code is imported with it: what begins behind it passes them all."""
LAST = 2**63 - 1
COUNT = LAST - FIRST + 1


def anywhere() -> int:
    """Return a random place to begin at."""
    return random.randint(FIRST, LAST)  # noqa: S311  (no secret)
