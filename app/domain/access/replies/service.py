"""Replies to requests with an `Idempotency-Key`, kept to answer the same request again.

For acts of which nothing else tells that they were done before: a key that is made, a secret that is rotated. Key and
reply are written in the act's own transaction, so an act that failed leaves no key taken, and of two at once the second
waits for the first. An act that takes transactions of its own has its key taken before, and its reply kept behind them:
meanwhile the same request goes on, and another one is refused. Whatever gives out codes does not need this: there the
key is the assignment's id (decision 0002).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

import orjson
from cryptography.fernet import InvalidToken
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.access.replies import queries
from app.domain.access.scopes import Caller
from app.platform.errors import IdempotencyKeyReusedError
from app.platform.sealing import fernet
from app.platform.settings import Settings

Reply: TypeAlias = Mapping[str, object]
"""What is kept of a reply, as JSON; who keeps it knows what stands there."""
KEPT = timedelta(days=1)
"""How long the same request is known again; later it is a new one, whether or not the old reply is deleted yet."""


@dataclass(frozen=True, slots=True)
class TakenKey:
    """A key that was taken for a request, of which the digest is kept."""

    caller: Caller
    key: str
    request: bytes


async def take(
    connection: AsyncConnection, settings: Settings, caller: Caller, key: str, request: Sequence[object]
) -> tuple[TakenKey, Reply | None]:
    """Take a key for a request; return also the reply that was kept where the same request came before.

    Args:
        connection: of the transaction that does what is asked for, or of one before.
        settings: of this process.
        caller: whose key it is.
        key: the `Idempotency-Key`.
        request: what makes the request the same.

    Raises:
        IdempotencyKeyReusedError: the key came before with another request.
    """
    taken = TakenKey(caller, key, _digest(request))
    if await queries.take(connection, caller.key_id, key, taken.request, KEPT):
        return taken, None
    return taken, await answered(connection, settings, caller, key, request)


async def answered(
    connection: AsyncConnection, settings: Settings, caller: Caller, key: str, request: Sequence[object]
) -> Reply | None:
    """Return the reply that was kept where the same request came before.

    None where the key did not come of late, or is taken for this request, and no reply is kept yet.

    Raises:
        IdempotencyKeyReusedError: the key came before with another request.
    """
    before = await queries.of_key(connection, caller.key_id, key, KEPT)
    if before is None:
        return None
    if bytes(before.request) != _digest(request):
        raise IdempotencyKeyReusedError("The same idempotency key came before with another request.")
    if before.sealed is None:
        return None
    try:
        reply: Reply = orjson.loads(fernet(settings).decrypt(bytes(before.sealed)))
    except InvalidToken as error:
        said = "It was done when this key came first; the reply was sealed with another VOUCHERS_SECRET_KEY."
        raise IdempotencyKeyReusedError(said) from error
    return reply


def _digest(request: Sequence[object]) -> bytes:
    return hashlib.sha256(orjson.dumps(request, default=str)).digest()


async def keep(connection: AsyncConnection, settings: Settings, taken: TakenKey, reply: Reply) -> None:
    """Store the reply to the request that a key was taken for. Sealed: it may hold the secret that was made."""
    sealed = fernet(settings).encrypt(orjson.dumps(reply, default=str))
    await queries.keep(connection, taken.caller.key_id, taken.key, taken.request, sealed)


async def give_back(connection: AsyncConnection, taken: TakenKey) -> None:
    """Leave a key, for whatever request, whose act was refused; not where a reply is kept."""
    await queries.give_back(connection, taken.caller.key_id, taken.key, taken.request)


async def forget(engine: AsyncEngine) -> None:
    """Delete what was kept long enough, in all projects."""
    await queries.forget(engine, KEPT)
