"""The daily backup of the embedded database, for those who never set one up."""

import threading
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import structlog

from app.platform.clock import clock
from app.platform.database_url import parameters
from app.platform.disk import NoRoomError, check_room
from app.platform.errors import CommandError
from app.platform.postgres import dump

FIRST_LOOK_SECONDS = 600.0
"""After a start: what is restarted again and again is not backed up each time."""

LOOK_SECONDS = 900.0
EVERY = timedelta(days=1)
log = structlog.get_logger()


class DailyBackups:
    """Makes a backup a day, and keeps so many of them."""

    def __init__(self, url: str, folder: Path, keep: int, stop: threading.Event) -> None:
        self._parameters = parameters(url)
        self._folder = folder
        self._keep = keep
        self._stop = stop

    def start(self) -> None:
        """Begin to look whether a backup is due, in a thread of its own."""
        if self._keep:
            threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        pause = FIRST_LOOK_SECONDS
        while not self._stop.wait(pause):
            pause = LOOK_SECONDS
            try:
                self.look(clock.now())
            except (CommandError, NoRoomError, OSError) as error:
                log.error("the daily backup failed; trying again", error=str(error), seconds=pause)  # noqa: TRY400

    def look(self, now: datetime) -> bool:
        """Make a backup where the last one is a day old; return whether it was.

        Raises:
            CommandError: it cannot be made.
            NoRoomError: too little of the disk would be left for the database.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for unfinished in self._folder.glob(".vouchers-*"):
            unfinished.unlink()  # left by one that was killed
        made = dump.made(self._folder, now)
        if any(now - EVERY < moment <= now for moment in made):
            return False
        check_room(self._folder, wanted=sum(last.stat().st_size for last in list(made.values())[-1:]))
        file = self._folder / dump.name_of(now)
        dump.back_up(self._parameters, file, partial(check_room, self._folder))
        log.info("the database was backed up", file=str(file), bytes=file.stat().st_size)
        for old in list(dump.made(self._folder, now).values())[: -self._keep]:
            old.unlink()
        return True
