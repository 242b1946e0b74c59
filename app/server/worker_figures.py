"""The figures of a worker that runs by itself, told to whom the service's own `/metrics` would tell them.

Keys are looked up in threads of their own, each by a connection that is closed again: a worker whose event loop hangs
still tells what it has counted.
"""

import asyncio
import threading

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from app.domain.access.errors import ForbiddenError, UnauthenticatedError
from app.domain.access.keys.ring import KeyRing
from app.domain.access.scopes import OF_METRICS, Caller
from app.platform.databases import Databases
from app.platform.errors import DatabaseUnavailableError
from app.platform.job_metrics import job_exposition
from app.platform.settings import Settings, get_settings
from app.web.credentials import secret_in
from app.web.failed_keys import FailedKeys

ASK_SECONDS = 4.0
"""Longest look-up of a key."""


class Figures:
    """Tells them to keys that may read them."""

    def __init__(self) -> None:
        self._failures = FailedKeys()
        self._one = threading.Lock()

    def told_to(self, authorization: str | None, address: str) -> bytes:
        """Return the figures in Prometheus' text format.

        Args:
            authorization: the header of this name.
            address: whose request it is.

        Raises:
            UnauthenticatedError, TooManyRequestsError: the key is not known, as too many of this address were not.
            ForbiddenError: it may not read what the service does for all projects together.
            DatabaseUnavailableError: nobody can tell whose it is.
        """
        secret = secret_in(authorization)
        with self._one:  # one connection is enough
            self._failures.refuse(address)
            try:
                caller = asyncio.run(_caller(get_settings(), secret))
            except UnauthenticatedError:
                self._failures.note(address)
                raise
            except (SQLAlchemyError, psycopg.Error, OSError):
                raise DatabaseUnavailableError("The database that knows the keys does not answer.") from None
        if not (caller.sees_service and caller.may(*OF_METRICS)):
            raise ForbiddenError("This needs a key of the project `default`, or one with scope operator.")
        return job_exposition()


async def _caller(settings: Settings, secret: str) -> Caller:
    if settings.database_url is None:
        raise DatabaseUnavailableError("The worker starts.")
    databases = Databases(settings)
    try:
        async with asyncio.timeout(ASK_SECONDS):
            return await KeyRing(databases, 0).recognise(secret)
    finally:
        await databases.close()
