"""The workers of further databases: each a process of its own, so that a database that hangs holds up no other's jobs.

Whoever does the jobs of one database keeps those processes, as the control database lists them.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress

import psycopg
import structlog

from app.domain.projects.databases import service as databases
from app.platform.databases import MAIN_NAME, unsealed
from app.platform.errors import CommandError, DatabaseUnavailableError
from app.platform.settings import Settings
from app.server.roles import JOBS_SILENCE_SECONDS, SPARE_SECONDS, Leaving, Role, Running

LIST_SECONDS = 5.0
"""Between two looks which databases there are."""
LOOK_SECONDS = 0.5
"""Between two looks at the processes."""

log = structlog.get_logger()


async def settings_for(settings: Settings, name: str) -> Settings:
    """Return the settings with which a further database is used; wait for the control database to tell.

    Raises:
        CommandError: there is none of this name.
    """
    while True:
        try:
            found = await databases.urls(settings)
        except (psycopg.Error, OSError):
            await asyncio.sleep(LIST_SECONDS)
            continue
        if name not in found:
            raise CommandError(f"There is no database {name!r}.")
        return unsealed(settings, found[name])


class Crew:
    """Keeps a worker process for each further database.

    Args:
        settings: with which the control database is reached.
        begin: where such a process begins; takes its sign of life and a sealed URL.
        names: which databases; all, where there are none.
        own: the database that this process serves itself.
    """

    def __init__(  # type: ignore[explicit-any]  # what a process begins with
        self,
        settings: Settings,
        begin: Callable[..., None],
        names: Collection[str] = (),
        own: str = MAIN_NAME,
    ) -> None:
        self._settings = settings
        self._begin = begin
        self._names = names
        self._own = own
        self._roles: dict[str, Role] = {}
        self._leaving = Leaving()
        self._closed: set[bytes] = set()
        """URLs that no key of this process opens."""

    async def keep(self, stop: asyncio.Event) -> None:
        """Keep them alive until this is to stop, and then let them finish.

        While the control database is away, those that are known go on.
        """
        listed = float("-inf")
        try:
            while not stop.is_set():
                if time.monotonic() - listed > LIST_SECONDS:
                    with suppress(psycopg.Error, OSError):
                        self._follow(await databases.urls(self._settings))
                    listed = time.monotonic()
                self._revive()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), LOOK_SECONDS)
            await self._finish()
        finally:
            for each in self._running():
                each.kill()

    def _follow(self, listed: dict[str, bytes]) -> None:
        wanted = {name: url for name, url in listed.items() if name != self._own}
        if self._names:
            wanted = {name: url for name, url in wanted.items() if name in self._names}
        wanted = {name: url for name, url in wanted.items() if self._opens(name, url)}
        for name in [name for name, role in self._roles.items() if (wanted.get(name),) != role.arguments]:
            role = self._roles.pop(name)  # its URL is another one
            if role.now is not None:
                role.now.signal(signal.SIGTERM)
                self._leaving.add(role.now, self._settings.stop_seconds + SPARE_SECONDS)
        for name in wanted.keys() - self._roles.keys():
            self._roles[name] = Role(
                f"jobs-{name}", self._begin, (wanted[name],), JOBS_SILENCE_SECONDS, signal.SIGTERM
            )

    def _opens(self, name: str, url: bytes) -> bool:
        """Return whether a key opens a URL: its worker would else end at once, again and again."""
        try:
            unsealed(self._settings, url)
        except DatabaseUnavailableError as error:
            if url not in self._closed:
                self._closed.add(url)
                log.warning("the jobs of a database are not done", database=name, error=error.detail)
            return False
        return True

    def _revive(self) -> None:
        for name, role in self._roles.items():
            now = role.now
            if now is not None and now.alive and not now.hangs(role.silence):
                continue
            if now is not None:
                log.warning("the worker of a database died or hangs, starting it again", database=name)
                now.kill()
                now.forget()
            role.start()
        self._leaving.look()

    async def _finish(self) -> None:
        running = self._running()
        for each in running:
            each.signal(signal.SIGTERM)
        seconds = self._settings.stop_seconds
        await asyncio.gather(*(asyncio.to_thread(each.process.join, seconds) for each in running))

    def _running(self) -> list[Running]:
        return [role.now for role in self._roles.values() if role.now is not None] + self._leaving.all()
