"""The rules of API keys: how they are made, stored and recognised."""

import hashlib
import hmac
import secrets
import time
import uuid
from collections.abc import Iterable, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.access.audit import service as audit
from app.domain.access.errors import UnauthenticatedError
from app.domain.access.keys import queries
from app.domain.access.scopes import Caller, Scope
from app.platform.database import AnyRow, autocommit

PREFIX_BYTES = 8
_MAX_CACHED = 10_000
_REFRESH_SECONDS = 1.0


def _digest(secret: str) -> bytes:
    """SHA-256 is enough: a key is 256 random bits, so there is nothing to guess that a slow hash would protect."""
    return hashlib.sha256(secret.encode()).digest()


def _row(secret: str, name: str, scopes: Iterable[Scope]) -> dict[str, object]:
    digest = _digest(secret)
    return {"name": name, "prefix": digest[:PREFIX_BYTES], "digest": digest, "scopes": list(scopes)}


async def create(connection: AsyncConnection, name: str, scopes: Iterable[Scope]) -> tuple[uuid.UUID, str]:
    """Make a key, by command line or at the first start; its id and its secret, which is stored nowhere."""
    secret = f"vp_{secrets.token_urlsafe(32)}"
    row = _row(secret, name, scopes)
    key_id = await queries.add(connection, row)
    await audit.record(connection, None, "api_key.created", id=str(key_id), name=name, scopes=row["scopes"])
    return key_id, secret


async def revoke(connection: AsyncConnection, key_id: uuid.UUID) -> bool:
    """Revoke a key; False where no key that still stands has this id."""
    revoked = await queries.revoke(connection, key_id)
    if revoked:
        await audit.record(connection, None, "api_key.revoked", id=str(key_id))
    return revoked


async def bootstrap(connection: AsyncConnection, given: str | None) -> str | None:
    """Make sure that an admin key exists; the secret of a key that was made because none was given or there."""
    if given is not None:
        await queries.add_once(connection, _row(given, "bootstrap", [Scope.ADMIN]))
        return None
    if await queries.any_key(connection):
        return None
    _, secret = await create(connection, "bootstrap", [Scope.ADMIN])
    return secret


async def list_all(connection: AsyncConnection) -> Sequence[AnyRow]:
    """Return all keys, oldest first, for people to read."""
    return await queries.all_keys(connection)


class KeyRing:
    """Recognises keys, and remembers them for a few seconds so that the hot path asks no database."""

    def __init__(self, engine: AsyncEngine, remember_seconds: float) -> None:
        self._engine = engine
        self._remember_seconds = remember_seconds
        self._known: dict[bytes, tuple[float, Caller]] = {}

    def remembered(self, secret: str) -> Caller | None:
        """The caller, where this process saw the key within the last seconds."""
        entry = self._known.get(_digest(secret))
        return entry[1] if entry is not None and entry[0] > time.monotonic() else None

    async def recognise(self, secret: str) -> Caller:
        """The caller that holds this key.

        Raises:
            UnauthenticatedError: no key that still stands has this secret.
        """
        caller = self.remembered(secret)
        if caller is not None:
            return caller
        digest = _digest(secret)
        if digest in self._known:  # one request asks again; those that come meanwhile need not
            self._remember(digest, self._known[digest][1], min(_REFRESH_SECONDS, self._remember_seconds))
        async with autocommit(self._engine) as connection:
            rows = await queries.with_prefix(connection, digest[:PREFIX_BYTES])
        for row in rows:
            if hmac.compare_digest(row.digest, digest):
                caller = Caller(row.id, row.name, frozenset(map(Scope, row.scopes)))
                self._remember(digest, caller, self._remember_seconds)
                return caller
        self._known.pop(digest, None)
        raise UnauthenticatedError("The API key is not known, or was revoked.")

    def _remember(self, digest: bytes, caller: Caller, seconds: float) -> None:
        if len(self._known) >= _MAX_CACHED:
            self._known.clear()
        self._known[digest] = (time.monotonic() + seconds, caller)
