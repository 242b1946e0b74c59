"""How many requests a process lets in while it has to turn some away."""

import sys

from app.server.admission import FLOOR, LONG_TURN, SECONDS, TURNED_AWAY, WAITS, Admission

ALL = sys.maxsize


class Process:
    """What a process has under way at looks a second from each other."""

    def __init__(self):
        self.admission = Admission()
        self.now = self.told = self.turned_away = 0
        self.waiting = []

    def look(self, rate, turned_away=0, refused=0, turn=2 * LONG_TURN):
        """So many were answered, turned away by the application and refused for the bound since the look before."""
        self.now += 1
        self.told += rate + turned_away + refused
        self.turned_away += turned_away
        self.admission.refused += refused
        self.admission.look(self.waiting, self.told, self.turned_away, turn=turn, now=self.now)
        return self.admission.most


def test_in_an_overload_as_many_are_let_in_as_are_answered_soon():
    process = Process()
    assert process.look(4000) == ALL
    assert process.look(4000, turned_away=TURNED_AWAY) == 4000 * SECONDS
    assert process.look(2000, turned_away=10, refused=9000) == 2000 * SECONDS
    assert process.look(3000, refused=TURNED_AWAY) == 3000 * SECONDS
    assert process.look(100, refused=TURNED_AWAY) == FLOOR
    assert process.look(0, refused=TURNED_AWAY) == FLOOR
    assert process.look(3000) == ALL


def test_all_are_let_in_while_the_application_lets_them_in():
    process = Process()
    process.waiting = [object() for _ in range(20 * FLOOR)]
    assert process.look(100_000, turn=1.0) == ALL
    assert process.look(0, turn=1.0, turned_away=TURNED_AWAY - 1) == ALL


def test_one_pool_that_is_locked_takes_nothing_from_the_others():
    """Its requests are turned away, but the event loop has pauses: what others want is answered as ever."""
    process = Process()
    process.waiting = [object() for _ in range(20 * FLOOR)]
    assert process.look(100, turned_away=5000, turn=LONG_TURN / 2) == ALL


def test_what_only_waits_takes_no_place_of_others():
    process = Process()
    process.waiting = [object() for _ in range(4 * FLOOR)]
    for _ in range(WAITS + 1):
        process.look(2000)
    assert process.look(2000, turned_away=100) == 4 * FLOOR + 2000 * SECONDS
    process.waiting = []
    assert process.look(2000, turned_away=100) == 2000 * SECONDS


def test_what_an_overload_makes_late_is_not_taken_for_one_that_waits():
    process = Process()
    process.look(2000, turned_away=100)
    process.waiting = [object() for _ in range(4 * FLOOR)]
    for _ in range(3 * WAITS):
        assert process.look(2000, turned_away=100) == 2000 * SECONDS
