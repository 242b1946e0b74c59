"""The job of moves."""

import asyncio
import threading

from procrastinate import JobContext
from sqlalchemy import text

from app.domain.projects.moving import service
from app.platform.database import transaction
from app.platform.jobs import LONG, engine_of, jobs, settings_of
from app.platform.projects import everywhere

ANY = text("SELECT EXISTS (SELECT FROM project_move)")


@jobs.periodic(cron="* * * * * */5", periodic_id="attend_moves")
@jobs.task(
    name="attend_moves", queue=LONG, queueing_lock="attend_moves", lock="attend_moves", pass_context=True
)
async def attend_moves(context: JobContext, timestamp: int) -> None:
    """Look after moves that nobody is at: end pauses, finish what is switched, undo what was given up."""
    del timestamp
    async with transaction(everywhere(engine_of(context))) as connection:
        if not (await connection.execute(ANY)).scalar_one():
            return
    over = threading.Event()
    try:
        await asyncio.to_thread(service.attend, settings_of(context), over.is_set)
    finally:
        over.set()  # the worker may be stopped
