"""The rules of API keys: how they are made, rotated, revoked and stored."""

import hashlib
import secrets
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.access.audit import service as audit
from app.domain.access.keys import queries
from app.domain.access.keys.errors import ApiKeyNotFoundError, ScopeBeyondError
from app.domain.access.keys.schemas import ApiKeyRecord
from app.domain.access.scopes import Caller, Scope
from app.platform.clock import clock
from app.platform.projects import DEFAULT
from app.platform.telling import tell
from app.platform.versions import Expected, check, version

PREFIX_BYTES = 8
KEYS = "vouchers_keys"
"""Channel on which all processes are told which key, or which project's keys, they must ask for again."""


def digest_of(secret: str) -> bytes:
    """Return the SHA-256 of a key. It is 256 random bits: there is nothing to guess that a slow hash would protect."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _row(secret: str, name: str, scopes: Iterable[Scope]) -> dict[str, object]:
    digest = digest_of(secret)
    return {"name": name, "prefix": digest[:PREFIX_BYTES], "digest": digest, "scopes": list(scopes)}


def _new_secret() -> str:
    return f"vp_{secrets.token_urlsafe(32)}"


async def issue(
    connection: AsyncConnection,
    caller: Caller | None,
    project_id: int,
    name: str,
    scopes: Iterable[Scope],
    *,
    expires_at: datetime | None = None,
    requests_per_minute: int | None = None,
) -> tuple[ApiKeyRecord, str]:
    """Make a key of a project; return it and its secret, which is stored nowhere.

    Raises:
        ScopeBeyondError: it would run the service, and the caller may not.
    """
    secret = _new_secret()
    wanted = list(scopes)
    if caller is not None and Scope.OPERATOR in wanted and not caller.may(Scope.OPERATOR):
        raise ScopeBeyondError("Only a key with scope operator makes keys with scope operator.")
    row = _row(secret, name, wanted) | {
        "project_id": project_id,
        "expires_at": expires_at,
        "requests_per_minute": requests_per_minute,
    }
    key = await queries.add(connection, row)
    await audit.record_at_home(
        connection, caller, "api_key.created", id=str(key.id), name=name, scopes=wanted
    )
    return key, secret


async def create(connection: AsyncConnection, name: str, scopes: Iterable[Scope]) -> tuple[uuid.UUID, str]:
    """Make a key of the first project, at the first start; return its id and its secret."""
    key, secret = await issue(connection, None, DEFAULT, name, scopes)
    return key.id, secret


async def list_page(
    connection: AsyncConnection,
    project_id: int,
    key: queries.Key | None,
    limit: int | None,
    *,
    newest_first: bool = False,
) -> list[ApiKeyRecord]:
    """Return a page of a project's keys, oldest or newest first, without their secrets; all without a limit."""
    return await queries.list_page(connection, project_id, key, limit, newest_first=newest_first)


async def get(connection: AsyncConnection, project_id: int, key_id: uuid.UUID) -> ApiKeyRecord:
    """Return a key of a project without its secret, one that was revoked or has expired too.

    Raises:
        ApiKeyNotFoundError: no key of the project has this id.
    """
    key = await queries.by_id(connection, project_id, key_id)
    if key is None:
        raise ApiKeyNotFoundError(f"There is no API key {key_id}.")
    return key


def version_of(key: ApiKeyRecord) -> str:
    """Return the version of a key: of what it may and of its secret, not of its use."""
    return version(key.id, key.generation, key.previous_until, key.revoked_at, key.expires_at)


async def rotate(
    connection: AsyncConnection,
    caller: Caller | None,
    project_id: int,
    key_id: uuid.UUID,
    grace_seconds: int,
    expected: Expected | None = None,
) -> tuple[ApiKeyRecord, str]:
    """Give a key a new secret; the one of before is good for so many seconds, and one before that no more.

    The key's id and scopes stay.

    Raises:
        ApiKeyNotFoundError: no key of the project that stands has this id.
        ScopeBeyondError: the key runs the service, and the caller may not.
        PreconditionFailedError: it is not as expected.
    """
    before = await queries.lock(connection, project_id, key_id)
    if before is None:
        raise ApiKeyNotFoundError(f"There is no active API key {key_id}.")
    _within(caller, before)
    check(expected, version_of(before))
    secret = _new_secret()
    digest = digest_of(secret)
    values = {
        "prefix": digest[:PREFIX_BYTES],
        "digest": digest,
        "previous_prefix": before.prefix if grace_seconds else None,
        "previous_digest": before.digest if grace_seconds else None,
        "previous_until": clock.now() + timedelta(seconds=grace_seconds) if grace_seconds else None,
    }
    key = await queries.set_secret(connection, key_id, values)
    await queries.retire(connection, project_id, before)
    await tell(connection, KEYS, str(key_id))
    await audit.record_at_home(
        connection, caller, "api_key.rotated", id=str(key_id), name=key.name, grace_seconds=grace_seconds
    )
    return key, secret


async def revoke(
    connection: AsyncConnection,
    caller: Caller | None,
    project_id: int,
    key_id: uuid.UUID,
    expected: Expected | None = None,
) -> bool:
    """Revoke a key, an expired one too; return False where no key of the project that was not revoked has this id.

    Raises:
        ScopeBeyondError: the key runs the service, and the caller may not.
        PreconditionFailedError: it is not as expected.
    """
    before = await queries.lock(connection, project_id, key_id, even_expired=True)
    if before is None:
        return False
    _within(caller, before)
    check(expected, version_of(before))
    await queries.revoke(connection, key_id)
    await tell(connection, KEYS, str(key_id))
    await audit.record_at_home(connection, caller, "api_key.revoked", id=str(key_id))
    return True


async def tell_changed(connection: AsyncConnection, project_id: int) -> None:
    """Tell all processes that what they remember of a project's keys may be old, once this is committed."""
    await tell(connection, KEYS, str(project_id))


def _within(caller: Caller | None, key: ApiKeyRecord) -> None:
    if caller is not None and Scope.OPERATOR in key.scopes and not caller.may(Scope.OPERATOR):
        raise ScopeBeyondError("Only a key with scope operator changes keys with scope operator.")


async def bootstrap(connection: AsyncConnection, given: str | None) -> str | None:
    """Make sure that a key exists, an admin of the first project; return the secret where none was given or there.

    One that is given and was rotated or revoked since stays so.
    """
    if given is not None:
        await queries.add_once(connection, _row(given, "bootstrap", [Scope.ADMIN]) | {"project_id": DEFAULT})
        return None
    if await queries.any_key(connection):
        return None
    _, secret = await create(connection, "bootstrap", [Scope.ADMIN])
    return secret
