"""SQL of alerts: what is set, and what has to be told.

A threshold falls where a count is lifted (lifecycle/thresholds.py) or here, in the sweep, whichever comes first;
both only touch armed rows. The sweep skips rows that are locked and so waits for nobody.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.alerts.deliveries.schemas import Recipients
from app.domain.alerts.schemas import AlertState, ThresholdRecord
from app.domain.lifecycle.stock import LEFT
from app.platform import records
from app.schema.alerts import Alert, AlertThreshold
from app.schema.imports import ImportSchedule

ALERT = (
    Alert.pool_id,
    Alert.webhook_url,
    Alert.webhook_secret,
    Alert.previous_secrets,
    Alert.webhook_disabled_at,
    Alert.email,
    Alert.further_emails,
    Alert.expiring_within_days,
)

STATE = (
    AlertThreshold.threshold,
    AlertThreshold.fell_at.is_(None).label("armed"),
    AlertThreshold.fell_at,
    AlertThreshold.available,
)

# What anybody may draw: what is available, less what campaigns hold.
LEFT_IN_STOCK = f"""left_in AS (
    SELECT pool_id, {LEFT.format(project=":project", pool_id="stock.pool_id")} AS available
    FROM stock WHERE project_id = :project AND pool_id IN (SELECT pool_id FROM alert WHERE project_id = :project)
    GROUP BY pool_id
)"""  # noqa: S608  (made of constants)

# A threshold that the count is at or below already has been crossed: it is told at once.
SET_THRESHOLDS = text(f"""
INSERT INTO alert_threshold (project_id, pool_id, threshold, fell_at, told_at, available)
SELECT :project, CAST(:pool_id AS bigint), threshold,
    CASE WHEN left_in.available <= threshold THEN now() END,
    NULL,
    CASE WHEN left_in.available <= threshold THEN left_in.available END
FROM unnest(CAST(:thresholds AS bigint[])) AS threshold,
    (
        SELECT {LEFT.format(project=":project", pool_id=":pool_id")} AS available
        FROM stock WHERE project_id = :project AND pool_id = :pool_id
    ) AS left_in
ON CONFLICT DO NOTHING
""")  # noqa: S608  (made of constants)

REARM = text(f"""
WITH {LEFT_IN_STOCK}, risen AS (
    SELECT alert_threshold.pool_id, threshold FROM alert_threshold JOIN left_in USING (pool_id)
    WHERE alert_threshold.project_id = :project AND told_at IS NOT NULL AND threshold < left_in.available
    FOR UPDATE OF alert_threshold SKIP LOCKED
)
UPDATE alert_threshold SET fell_at = NULL, told_at = NULL, available = NULL
FROM risen
WHERE alert_threshold.project_id = :project AND alert_threshold.pool_id = risen.pool_id
    AND alert_threshold.threshold = risen.threshold
""")  # noqa: S608  (made of constants)

FALL = text(f"""
WITH {LEFT_IN_STOCK}, fallen AS (
    SELECT alert_threshold.pool_id, threshold, left_in.available
    FROM alert_threshold JOIN left_in USING (pool_id)
    WHERE alert_threshold.project_id = :project AND fell_at IS NULL AND threshold >= left_in.available
    FOR UPDATE OF alert_threshold SKIP LOCKED
)
UPDATE alert_threshold SET fell_at = now(), available = fallen.available
FROM fallen
WHERE alert_threshold.project_id = :project AND alert_threshold.pool_id = fallen.pool_id
    AND alert_threshold.threshold = fallen.threshold
""")  # noqa: S608  (made of constants)

ENABLED_WEBHOOK = "CASE WHEN webhook_disabled_at IS NULL THEN webhook_url END AS webhook_url"

# The share lock is the one that a delivery's foreign key would wait for while the pool is being deleted.
FALLEN = text(f"""
SELECT alert_threshold.pool_id, pool.name, threshold, alert_threshold.available, fell_at AS at,
    {ENABLED_WEBHOOK}, email, further_emails
FROM alert_threshold JOIN alert USING (project_id, pool_id) JOIN pool ON pool.project_id = :project
    AND pool.id = alert.pool_id
WHERE alert_threshold.project_id = :project AND fell_at IS NOT NULL AND told_at IS NULL
ORDER BY fell_at, threshold DESC LIMIT :limit
FOR UPDATE OF alert_threshold SKIP LOCKED FOR KEY SHARE OF pool SKIP LOCKED
""")  # noqa: S608  (made of constants)

SOON = """FROM voucher
    WHERE voucher.project_id = :project AND voucher.pool_id = alert.pool_id AND status = 'available'
    AND expires_at > now() AND expires_at <= now() + make_interval(days => expiring_within_days::int)"""
EXPIRING_SOON = f"EXISTS (SELECT {SOON})"
EXPIRING = text(f"""
SELECT alert.pool_id, pool.name, {ENABLED_WEBHOOK}, email, further_emails, expiring_within_days, now() AS at,
    soon.available, soon.first
FROM alert JOIN pool ON pool.project_id = :project AND pool.id = alert.pool_id CROSS JOIN LATERAL (
    SELECT count(*) AS available, min(expires_at) AS first {SOON}
) AS soon
WHERE alert.project_id = :project AND expiring_within_days IS NOT NULL AND expiring_told_at IS NULL
    AND {EXPIRING_SOON}
FOR UPDATE OF alert SKIP LOCKED FOR KEY SHARE OF pool SKIP LOCKED
""")  # noqa: S608  (made of constants)
EXPIRING_NO_MORE = text(f"""
UPDATE alert SET expiring_told_at = NULL
WHERE project_id = :project AND pool_id IN (
    SELECT pool_id FROM alert WHERE project_id = :project AND expiring_told_at IS NOT NULL FOR UPDATE SKIP LOCKED
) AND (expiring_within_days IS NULL OR NOT {EXPIRING_SOON})
""")  # noqa: S608  (made of constants)

FAILED_SCHEDULES = text(f"""
SELECT import_schedule.id, alert.pool_id, pool.name, {ENABLED_WEBHOOK}, email, further_emails, gave_up_at AS at,
    import_schedule.error, import_schedule.next_run, import.id AS import_id, import.choices IS NOT NULL AS asked
FROM import_schedule JOIN pool ON pool.project_id = :project AND pool.name = import_schedule.pool
    JOIN alert ON alert.project_id = :project AND alert.pool_id = pool.id
    LEFT JOIN import ON import.project_id = :project AND import.id = import_schedule.judged
WHERE import_schedule.project_id = :project AND gave_up_at IS NOT NULL AND told_at IS NULL
ORDER BY gave_up_at LIMIT :limit
FOR UPDATE OF import_schedule SKIP LOCKED FOR KEY SHARE OF pool SKIP LOCKED
""")  # noqa: S608  (made of constants)


# In which projects something is to be told. What no index tells is looked for alert by alert, in rounds.
UNTOLD_IN = text(
    "SELECT DISTINCT project_id FROM alert_threshold WHERE fell_at IS NOT NULL AND told_at IS NULL"
)
_LEFT = """(
    SELECT sum(stock.available) FROM stock WHERE stock.project_id = slice.project_id AND stock.pool_id = slice.key
) - (
    SELECT coalesce(sum(hold.size - hold.drawn), 0) FROM hold
    WHERE hold.project_id = slice.project_id AND hold.pool_id = slice.key
        AND (hold.expires_at IS NULL OR hold.expires_at > now())
)"""
ALERTS = "SELECT project_id, pool_id AS key FROM alert WHERE (project_id, pool_id) > {after}"
CROSSED = f"""EXISTS (
    SELECT FROM alert_threshold AS each, LATERAL (SELECT {_LEFT} AS available) AS left_in
    WHERE each.project_id = slice.project_id AND each.pool_id = slice.key AND (
        (each.fell_at IS NULL AND each.threshold >= left_in.available)
        OR (each.told_at IS NOT NULL AND each.threshold < left_in.available)
    )
)"""
EXPIRING_ALERTS = """SELECT project_id, pool_id AS key, expiring_within_days, expiring_told_at FROM alert
WHERE (project_id, pool_id) > {after} AND (expiring_within_days IS NOT NULL OR expiring_told_at IS NOT NULL)"""
EXPIRING_DUE = """(slice.expiring_told_at IS NULL) = (slice.expiring_within_days IS NOT NULL AND EXISTS (
    SELECT FROM voucher WHERE voucher.project_id = slice.project_id AND voucher.pool_id = slice.key
        AND status = 'available' AND expires_at > now()
        AND expires_at <= now() + make_interval(days => slice.expiring_within_days::int)
))"""
FAILED_IN = text("""
SELECT DISTINCT project_id FROM import_schedule WHERE gave_up_at IS NOT NULL AND told_at IS NULL AND EXISTS (
    SELECT FROM pool JOIN alert ON alert.project_id = pool.project_id AND alert.pool_id = pool.id
    WHERE pool.project_id = import_schedule.project_id AND pool.name = import_schedule.pool
)
""")


@dataclass(frozen=True, slots=True)
class AlertRecord(Recipients):
    """What is set for a pool, but for its thresholds."""

    webhook_secret: str | None
    previous_secrets: dict[str, str]
    webhook_disabled_at: datetime | None
    expiring_within_days: int | None


@dataclass(frozen=True, slots=True)
class Crossed(Recipients):
    """A threshold to which the count of a pool fell, and whom to tell."""

    name: str
    threshold: int
    available: int
    at: datetime


@dataclass(frozen=True, slots=True)
class ExpiringSoon(Recipients):
    """A pool of which codes expire soon, and whom to tell."""

    name: str
    expiring_within_days: int
    at: datetime
    available: int
    first: datetime


@dataclass(frozen=True, slots=True)
class FailedSchedule(Recipients):
    """An import schedule that gave up until its next regular run, and whom to tell."""

    id: uuid.UUID
    name: str
    at: datetime
    error: str
    next_run: datetime | None
    import_id: uuid.UUID | None
    asked: bool


async def by_pool(connection: AsyncConnection, pool_id: int) -> AlertRecord | None:
    """Return what is set for a pool."""
    query = select(*ALERT).where(Alert.pool_id == pool_id)
    return records.any_of(await connection.execute(query), AlertRecord)


async def thresholds(connection: AsyncConnection, pool_id: int) -> list[ThresholdRecord]:
    """Return the thresholds of a pool, greatest first."""
    query = select(*STATE).where(AlertThreshold.pool_id == pool_id).order_by(AlertThreshold.threshold.desc())
    return records.all_of(await connection.execute(query), ThresholdRecord)


async def states(connection: AsyncConnection, pool_ids: Sequence[int]) -> list[AlertState]:
    """Return where the alerts of these pools stand, where they have some."""
    fallen = func.min(AlertThreshold.threshold).filter(AlertThreshold.fell_at.is_not(None)).label("fallen")
    query = select(AlertThreshold.pool_id, fallen).where(AlertThreshold.pool_id.in_(pool_ids))
    rows = await connection.execute(query.group_by(AlertThreshold.pool_id))
    return [AlertState(row.pool_id, row.fallen) for row in rows]


LOCK_PLACE = text("SELECT pg_advisory_xact_lock(hashtextextended('alerts ' || CAST(:pool_id AS text), 0))")
"""Of the alerts of a pool also where there are none: of two who set the first ones, one is told of the other's."""


async def lock(connection: AsyncConnection, pool_id: int) -> bool:
    """Lock what is set for a pool against other edits until the transaction ends; return False where nothing is."""
    await connection.execute(LOCK_PLACE, {"pool_id": pool_id})
    query = select(Alert.pool_id).where(Alert.pool_id == pool_id).with_for_update(key_share=True)
    return (await connection.execute(query)).first() is not None


async def put(
    connection: AsyncConnection, pool_id: int, values: Mapping[str, object], thresholds: Sequence[int]
) -> str | None:
    """Set the alerts of a pool; its secret, which stays where there is one.

    A threshold that stays keeps its state.
    """
    query = upsert(Alert).values(pool_id=pool_id, **values)
    other_days = Alert.expiring_within_days.is_distinct_from(query.excluded.expiring_within_days)
    query = query.on_conflict_do_update(
        index_elements=[Alert.project_id, Alert.pool_id],
        set_={
            **values,
            "webhook_secret": func.coalesce(Alert.webhook_secret, query.excluded.webhook_secret),
            "expiring_told_at": case((other_days, None), else_=Alert.expiring_told_at),
        },
    )
    secret = (await connection.execute(query.returning(Alert.webhook_secret))).scalar_one()
    await connection.execute(
        delete(AlertThreshold).where(
            AlertThreshold.pool_id == pool_id, AlertThreshold.threshold.not_in(thresholds)
        )
    )
    await connection.execute(SET_THRESHOLDS, {"pool_id": pool_id, "thresholds": list(thresholds)})
    return secret


COPY = text("""
INSERT INTO alert (
    project_id, pool_id, webhook_url, webhook_secret, previous_secrets, webhook_disabled_at, email, further_emails,
    expiring_within_days
)
SELECT :project, :into, webhook_url, webhook_secret, previous_secrets, webhook_disabled_at, email, further_emails,
    expiring_within_days
FROM alert WHERE project_id = :project AND pool_id = :of
RETURNING pool_id
""")


async def copy(connection: AsyncConnection, of: int, into: int) -> bool:
    """Tell of a pool as of another, with the same key; False where nobody is told of that one."""
    if (await connection.execute(COPY, {"of": of, "into": into})).first() is None:
        return False
    values = [row.threshold for row in await thresholds(connection, of)]
    await connection.execute(SET_THRESHOLDS, {"pool_id": into, "thresholds": values})
    return True


async def set_secret(
    connection: AsyncConnection, pool_id: int, secret: str, previous: dict[str, str]
) -> None:
    """Set the key of a pool's signatures, and those of before with the times until which they hold beside it."""
    await connection.execute(
        update(Alert).where(Alert.pool_id == pool_id).values(webhook_secret=secret, previous_secrets=previous)
    )


async def remove(connection: AsyncConnection, pool_id: int) -> bool:
    """Delete the alerts of a pool; return False where there were none."""
    query = delete(Alert).where(Alert.pool_id == pool_id).returning(Alert.pool_id)
    return (await connection.execute(query)).first() is not None


async def move_thresholds(connection: AsyncConnection) -> None:
    """Arm again what was told and lies below the count; let fall what is armed and lies at it or above."""
    await connection.execute(REARM)
    await connection.execute(FALL)


async def fallen(connection: AsyncConnection, limit: int) -> list[Crossed]:
    """Return thresholds that have fallen and were not told, and lock them."""
    return records.all_of(await connection.execute(FALLEN, {"limit": limit}), Crossed)


async def told(connection: AsyncConnection, pool_id: int, threshold: int) -> None:
    """Note that a threshold was told."""
    await connection.execute(
        update(AlertThreshold)
        .where(AlertThreshold.pool_id == pool_id, AlertThreshold.threshold == threshold)
        .values(told_at=func.now())
    )


async def expiring(connection: AsyncConnection) -> list[ExpiringSoon]:
    """Return pools with codes that expire soon and that were not told of, and lock them."""
    await connection.execute(EXPIRING_NO_MORE)
    return records.all_of(await connection.execute(EXPIRING), ExpiringSoon)


async def told_expiring(connection: AsyncConnection, pool_id: int) -> None:
    """Note that it was told that codes of a pool expire soon."""
    await connection.execute(
        update(Alert).where(Alert.pool_id == pool_id).values(expiring_told_at=func.now())
    )


async def failed_schedules(connection: AsyncConnection, limit: int) -> list[FailedSchedule]:
    """Return import schedules that gave up until their next regular run, and that were not told of, locked."""
    return records.all_of(await connection.execute(FAILED_SCHEDULES, {"limit": limit}), FailedSchedule)


async def told_schedule(connection: AsyncConnection, schedule_id: uuid.UUID) -> None:
    """Note that it was told that a schedule gave up."""
    await connection.execute(
        update(ImportSchedule).where(ImportSchedule.id == schedule_id).values(told_at=func.now())
    )
