"""SQL of API keys."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import ARRAY, LargeBinary, Uuid, any_, bindparam, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.access.keys.schemas import ApiKeyRecord
from app.platform import keyset, records
from app.schema.access import ApiKey
from app.schema.projects import Database, Project

COLUMNS = (
    ApiKey.id,
    ApiKey.name,
    ApiKey.scopes,
    ApiKey.created_at,
    ApiKey.expires_at,
    ApiKey.last_used_at,
    ApiKey.requests_per_minute,
    ApiKey.previous_until,
    ApiKey.revoked_at,
    func.encode(func.sha256(ApiKey.digest), "hex").label("generation"),  # another one once the secret is
)
IS_KEY = func.cardinality(ApiKey.scopes) > 0
"""Whether a row is a key, and not the mark of a secret that a rotation took away (`retire`)."""
STANDS = (ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()))
SECONDS_LEFT = func.extract("epoch", ApiKey.expires_at - func.now()).label("seconds_left")
PREVIOUS_LEFT = func.extract("epoch", ApiKey.previous_until - func.now()).label("previous_left")
USED_STEP = timedelta(minutes=1)
"""How often the time of the last use is written at most."""
STALE = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - USED_STEP)

Key = tuple[datetime, uuid.UUID]
"""Where a page of the list ends: when it was made, id."""


@dataclass(frozen=True, slots=True)
class KnownKey(ApiKeyRecord):
    """A key that stands, with its project and what a secret is compared with."""

    project_id: int
    project: str
    database_id: int
    database: str
    """Its name."""
    database_url: bytes | None
    """Sealed; None: the project lives in the control database."""
    digest: bytes
    previous_digest: bytes | None
    seconds_left: Decimal | None
    previous_left: Decimal | None
    stale: bool


@dataclass(frozen=True, slots=True)
class LockedKey(ApiKeyRecord):
    """A key that stands, locked, with its present digest."""

    digest: bytes
    prefix: bytes


async def with_prefixes(connection: AsyncConnection, prefixes: Sequence[bytes]) -> list[KnownKey]:
    """Return the keys that stand, of projects that stand, and whose digest, or the one before it, begins so."""
    any_prefix = any_(bindparam("prefixes", list(prefixes), ARRAY(LargeBinary)))
    query = (
        select(
            *COLUMNS,
            ApiKey.project_id,
            Project.name.label("project"),
            Project.database_id,
            Database.name.label("database"),
            Database.url.label("database_url"),
            ApiKey.digest,
            ApiKey.previous_digest,
            SECONDS_LEFT,
            PREVIOUS_LEFT,
            STALE.label("stale"),
        )
        .join(Project, Project.id == ApiKey.project_id)
        .join(Database, Database.id == Project.database_id)
        .where(
            or_(ApiKey.prefix == any_prefix, ApiKey.previous_prefix == any_prefix),
            *STANDS,
            Project.deleting_since.is_(None),
        )
    )
    return records.all_of(await connection.execute(query), KnownKey)


async def used(connection: AsyncConnection, key_ids: Collection[uuid.UUID]) -> None:
    """Note that keys were used just now; what another one is writing is noted by it."""
    these = ApiKey.id == any_(bindparam("ids", list(key_ids), ARRAY(Uuid)))
    free = select(ApiKey.id).where(these, STALE).with_for_update(skip_locked=True)
    await connection.execute(update(ApiKey).where(ApiKey.id.in_(free)).values(last_used_at=func.now()))


async def add(connection: AsyncConnection, values: dict[str, object]) -> ApiKeyRecord:
    """Store a key; return it as it is shown."""
    query = insert(ApiKey).values(values).returning(*COLUMNS)
    return records.one_of(await connection.execute(query), ApiKeyRecord)


async def add_once(connection: AsyncConnection, values: dict[str, object]) -> None:
    """Store a key unless its secret is, or was, that of one."""
    await connection.execute(upsert(ApiKey).values(values).on_conflict_do_nothing())


async def any_key(connection: AsyncConnection) -> bool:
    """Tell whether any key was ever made."""
    return (await connection.execute(select(ApiKey.id).limit(1))).first() is not None


async def list_page(
    connection: AsyncConnection,
    project_id: int,
    key: Key | None,
    limit: int | None,
    *,
    newest_first: bool = False,
) -> list[ApiKeyRecord]:
    """Return a page of a project's keys, oldest or newest first; all of them without a limit."""
    of_project = select(*COLUMNS).where(ApiKey.project_id == project_id, IS_KEY)
    order = (ApiKey.created_at, ApiKey.id)
    query = keyset.page(of_project, order, key, limit, newest_first=newest_first)
    return records.all_of(await connection.execute(query), ApiKeyRecord)


async def lock(
    connection: AsyncConnection, project_id: int, key_id: uuid.UUID, *, even_expired: bool = False
) -> LockedKey | None:
    """Lock a key of a project that stands, or has but expired, and return it with its digest."""
    query = select(*COLUMNS, ApiKey.digest, ApiKey.prefix).where(
        ApiKey.id == key_id, ApiKey.project_id == project_id, *(STANDS[:1] if even_expired else STANDS)
    )
    return records.any_of(await connection.execute(query.with_for_update()), LockedKey)


async def set_secret(
    connection: AsyncConnection, key_id: uuid.UUID, values: Mapping[str, object]
) -> ApiKeyRecord:
    """Replace the digests of a key; return it as it is shown."""
    query = update(ApiKey).where(ApiKey.id == key_id).values(values).returning(*COLUMNS)
    return records.one_of(await connection.execute(query), ApiKeyRecord)


async def retire(connection: AsyncConnection, project_id: int, key: LockedKey) -> None:
    """Mark the secret that a rotation has taken from a key: no key is ever made of it again."""
    values = {"project_id": project_id, "name": key.name, "prefix": key.prefix, "digest": key.digest}
    await connection.execute(insert(ApiKey).values(values | {"scopes": [], "revoked_at": func.now()}))


async def by_id(connection: AsyncConnection, project_id: int, key_id: uuid.UUID) -> ApiKeyRecord | None:
    """Return a key of a project as it is shown; None where it never had one of this id."""
    query = select(*COLUMNS).where(ApiKey.id == key_id, ApiKey.project_id == project_id, IS_KEY)
    return records.any_of(await connection.execute(query), ApiKeyRecord)


async def revoke(connection: AsyncConnection, key_id: uuid.UUID) -> None:
    """Revoke a key."""
    await connection.execute(update(ApiKey).where(ApiKey.id == key_id).values(revoked_at=func.now()))
