"""Where draws begin: processes walk apart, and leave each other where they meet."""

import bisect
import random

import pytest

from app.domain.assignments.cursors import Cursors

POOL = (1, "p")


class Codes:
    """The draw keys of a pool, of which each is given once."""

    def __init__(self, n):
        self.keys = sorted(random.randint(-(2**63), 2**63 - 1) for _ in range(n))
        self.free = dict.fromkeys(self.keys)

    def draw(self, cursors, n):
        """The next `n` from where the cursors are, and round to there again."""
        cursor = cursors.of(POOL)
        begin = bisect.bisect_right(self.keys, cursor)
        found = []
        for place in range(begin, begin + len(self.keys)):
            key = self.keys[place % len(self.keys)]
            if key in self.free:
                found.append(key)
                if len(found) == n:
                    break
        for key in found:
            del self.free[key]
        cursors.passed(POOL, cursor, found)
        return found


@pytest.fixture(autouse=True)
def same_each_time():
    random.seed(1)


@pytest.mark.parametrize("n", [1, 3, 20])
def test_who_is_alone_walks_through_the_pool_in_order(n):
    codes, cursors = Codes(300 * n), Cursors()
    begun = cursors.of(POOL)
    drawn = [key for _ in range(300) for key in sorted(codes.draw(cursors, n))]
    assert not codes.free
    in_order = sorted(drawn)
    at = bisect.bisect_right(in_order, begun)
    followed = sum(key == after for key, after in zip(drawn, in_order[at:] + in_order[:at], strict=True))
    assert followed > 0.9 * len(drawn)


@pytest.mark.parametrize("n", [1, 3, 20])
def test_those_who_meet_part(n):
    """Eight that begin at one place are soon at eight."""
    codes, processes = Codes(4000 * n), [Cursors() for _ in range(8)]
    for cursors in processes:
        cursors.passed(POOL, 0, [1])
    met = []
    for _ in range(100):
        for cursors in processes:
            before = cursors.of(POOL)
            first = min(codes.draw(cursors, n))
            there = codes.keys[bisect.bisect_right(codes.keys, before) % len(codes.keys)]
            met.append(first != there)
    early, late = met[:160], met[-160:]
    assert sum(early) > 100
    assert sum(late) < 60


def test_what_is_given_nothing_or_goes_round_stays_where_it_is():
    cursors = Cursors()
    cursors.passed(POOL, 5, [])
    place = cursors.of(POOL)
    assert cursors.of(POOL) == place
    cursors.passed(POOL, 10, [12, 3, 4])
    assert cursors.of(POOL) == 4
