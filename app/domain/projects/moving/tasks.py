"""The jobs of moves."""

import asyncio
import threading

from procrastinate import JobContext
from sqlalchemy import text

from app.domain.projects.moving import service
from app.domain.projects.moving.queries import PAUSED
from app.platform.database import transaction
from app.platform.jobs import LONG, SWEEPS, engine_of, jobs, settings_of
from app.platform.projects import everywhere

ANY = text("SELECT EXISTS (SELECT FROM project_move WHERE (step = :paused) = :wanted)")


@jobs.periodic(cron="* * * * * */5", periodic_id="lift_pauses")
@jobs.task(
    name="lift_pauses", queue=SWEEPS, queueing_lock="lift_pauses", lock="lift_pauses", pass_context=True
)
async def lift_pauses(context: JobContext, timestamp: int) -> None:
    """Lift pauses that nobody is at: the projects are not written meanwhile, whatever long jobs go on."""
    del timestamp
    await _attend(context, paused=True)


@jobs.periodic(cron="* * * * * */5", periodic_id="attend_moves")
@jobs.task(
    name="attend_moves", queue=LONG, queueing_lock="attend_moves", lock="attend_moves", pass_context=True
)
async def attend_moves(context: JobContext, timestamp: int) -> None:
    """Look after other moves that nobody is at: finish what is switched, undo what was given up."""
    del timestamp
    await _attend(context, paused=False)


async def _attend(context: JobContext, *, paused: bool) -> None:
    async with transaction(everywhere(engine_of(context))) as connection:
        if not (await connection.execute(ANY, {"paused": PAUSED, "wanted": paused})).scalar_one():
            return
    over = threading.Event()
    try:
        await asyncio.to_thread(service.attend, settings_of(context), over.is_set, paused=paused)
    finally:
        over.set()  # the worker may be stopped
