"""How many requests a process has under way: in an overload whoever comes beyond that is refused for next to nothing.

A refusal by the application costs nearly as much as an answer. Where far more come than can be answered, refusals
would take most of the process's time, and those that were let in would wait for many long turns of the event loop.
Nothing is refused here unless the application itself turns requests away and the turns are long: not because one pool
is locked, nor because many requests only wait.
"""

import sys
from collections.abc import Collection

TURNED_AWAY = 25
"""So many requests that were turned away between two looks are an overload."""

LONG_TURN = 0.003
"""Seconds of a turn of the event loop where it has work without a pause."""

FLOOR = 256
"""Requests under way that are let in also in an overload."""

SECONDS = 0.3
"""What it may take to answer all that are under way, as fast as requests were answered of late."""

WAITS = 4
"""Looks after which a request is taken for one that waits for something else, and not counted in the next overload."""


class Admission:
    """The bound of one process, judged anew at each look."""

    def __init__(self) -> None:
        self.most = sys.maxsize
        """Requests that may be under way."""
        self.refused = 0
        """Requests that were refused for the bound."""
        self._before = (0, 0, 0.0)
        self._looks: dict[int, int] = {}
        self._waits: set[int] = set()

    def look(
        self, under_way: Collection[object], told: int, turned_away: int, *, turn: float, now: float
    ) -> None:
        """Judge anew.

        Args:
            under_way: what stands for each request.
            told: requests that had an answer since the process began, those that were refused included.
            turned_away: requests that the application has turned away since then.
            turn: how long a turn of the event loop takes, in seconds.
            now: seconds.
        """
        before_told, before_refused, at = self._before
        refused = self.refused + turned_away
        self._before = (told, refused, now)
        self._looks = {id(each): self._looks.get(id(each), 0) + 1 for each in under_way}
        if refused - before_refused < TURNED_AWAY or turn < LONG_TURN:
            self.most = sys.maxsize
            self._waits = {each for each, looks in self._looks.items() if looks > WAITS}
            return
        answered = told - before_told - (refused - before_refused)
        self._waits &= self._looks.keys()  # what has become late since is late by the overload
        self.most = len(self._waits) + max(FLOOR, round(answered / max(now - at, 0.001) * SECONDS))
