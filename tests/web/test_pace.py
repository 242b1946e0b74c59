"""How long work rests is told by what it took and by what else the process does, on a clock of the test's own."""

from app.web.pace import BUSY, BUSY_REST, LEAST, LOOK_SECONDS, QUIET_REST, Pace


class Loop:
    """An event loop that works for others a part of the time that passes."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.now = self.worked = 0.0
        self.rests: list[float] = []
        self.pace = Pace(lambda: self.now, lambda: self.worked, self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now += seconds
        self.worked += seconds * self.share

    async def work(self, pieces: int, took: float) -> float:
        """The part of the time that so many pieces of work took."""
        began = self.now
        for _ in range(pieces):
            self.now += took
            self.worked += took  # our own work is not that of others
            await self.pace.rest(took)
        return pieces * took / (self.now - began)


async def test_a_quarter_is_worked_while_others_want_answers():
    loop = Loop(2 * BUSY)
    assert abs(await loop.work(200, 0.005) - 1 / (1 + BUSY_REST)) < 0.01
    assert loop.pace.busy


async def test_nearly_all_is_worked_where_nobody_else_is():
    loop = Loop(BUSY / 2)
    await loop.work(50, 0.005)
    assert not loop.pace.busy
    assert abs(await loop.work(200, 0.005) - 1 / (1 + QUIET_REST)) < 0.01


async def test_it_gives_way_as_soon_as_others_come_and_comes_back_when_they_have_gone():
    loop = Loop(0.0)
    await loop.work(50, 0.005)
    loop.share = 0.5
    await loop.work(round(2 * LOOK_SECONDS / (0.005 * QUIET_REST)), 0.005)
    assert loop.pace.busy
    loop.share = 0.0
    await loop.work(50, 0.005)
    assert not loop.pace.busy


async def test_short_rests_are_saved_up_and_none_is_forgotten():
    loop = Loop(1.0)
    await loop.work(1000, LEAST / 10 / BUSY_REST)
    assert all(rest >= LEAST for rest in loop.rests)
    assert abs(sum(loop.rests) - 100 * LEAST) <= 2 * LEAST
