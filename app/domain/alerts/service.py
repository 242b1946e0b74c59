"""The rules of alerts: each threshold is told once when what anybody may draw falls to it.

What has fallen is written down by whoever lifts the count again, or by the sweep, which compares all counts with
all thresholds every second. The sweep alone puts messages on their way, and arms again what
the count has risen above (docs/decisions/0045, 0068).
"""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.access.audit import service as audit
from app.domain.access.scopes import Caller
from app.domain.alerts import queries
from app.domain.alerts.deliveries import service as deliveries
from app.domain.alerts.deliveries.schemas import DeliveryRecord
from app.domain.alerts.errors import AlertNotFoundError
from app.domain.alerts.schemas import Alerts, AlertState, AlertsUpdate, NewSecret
from app.domain.lifecycle import order
from app.domain.pools import service as pools
from app.domain.pools.schemas import PoolCreate, PoolRecord, PoolRef
from app.platform import hooks
from app.platform.clock import clock
from app.platform.errors import InvalidRequestError
from app.platform.settings import Settings
from app.platform.sweeping import past_a_bad_row
from app.platform.versions import Expected, version

ASKED = "The file leaves open what only you can say; its import has the choices."
"""What is told of a question, for that repeats what stands in the file."""
MAX_ERROR = 500
"""Characters of an error that are told."""

MAX_TOLD = 500
"""Most thresholds that one sweep tells; the rest is told a second later."""


async def put(
    connection: AsyncConnection,
    caller: Caller | None,
    settings: Settings,
    name: str,
    wanted: AlertsUpdate,
    expected: Expected | None = None,
) -> Alerts:
    """Set when a pool is told of, and whom. The secret is shown where it is new.

    Raises:
        PoolNotFoundError: there is no such pool.
        InvalidRequestError: an email is wanted, but there is no server to send it.
        PreconditionFailedError: they are not as expected.
    """
    addresses = wanted.addresses
    if addresses and settings.why_no_email:
        message = f"this service sends no email: {settings.why_no_email}"
        field = "email" if wanted.emails is None else "emails"
        raise InvalidRequestError(f"{field}: {message}", [{"loc": ["body", field], "msg": message}])
    pool = await pools.ref(connection, name)
    await _check(connection, pool, expected)
    values = {
        "webhook_url": wanted.webhook_url,
        "email": addresses[0] if addresses else None,
        "further_emails": addresses[1:],
        "expiring_within_days": wanted.expiring_within_days,
    }
    fresh = hooks.new_secret() if wanted.webhook_url is not None else None
    secret = await queries.put(
        connection,
        pool.id,
        {**values, "webhook_secret": fresh, "webhook_disabled_at": None},
        wanted.thresholds,
    )
    await audit.record(connection, caller, "alerts.set", pool=name, thresholds=wanted.thresholds)
    return replace(await _get(connection, pool), webhook_secret=secret if secret == fresh else None)


async def create_pool(connection: AsyncConnection, caller: Caller | None, wanted: PoolCreate) -> PoolRecord:
    """Make a pool; `like` another one with its settings: its rules, and alerts with the same webhook and key.

    Raises:
        PoolExistsError: the name is taken.
        PoolNotFoundError: there is none that it could be like.
    """
    pool = await pools.create(connection, caller, wanted.name, wanted.description)
    if wanted.like is None:
        return pool
    pool = await pools.copy_settings(connection, caller, wanted.like, wanted.name, wanted.description)
    if await queries.copy(connection, await pools.id_of(connection, wanted.like), pool.id):
        thresholds = [state.threshold for state in await queries.thresholds(connection, pool.id)]
        await audit.record(connection, caller, "alerts.set", pool=wanted.name, thresholds=thresholds)
    return pool


async def check_url(settings: Settings, wanted: AlertsUpdate) -> None:
    """Refuse a webhook that can never be called. It may wait for the resolver: hold no connection meanwhile.

    Raises:
        InvalidRequestError: it cannot.
    """
    why = None if wanted.webhook_url is None else await hooks.refusal(settings, wanted.webhook_url)
    if why is not None:
        raise InvalidRequestError(f"webhook_url: {why}", [{"loc": ["body", "webhook_url"], "msg": why}])


async def get(connection: AsyncConnection, name: str) -> Alerts:
    """Return what is set for a pool, without its secret.

    Raises:
        PoolNotFoundError, AlertNotFoundError: there is no such pool, or nobody is told of it.
    """
    return await _get(connection, await pools.ref(connection, name))


async def _get(connection: AsyncConnection, pool: PoolRef) -> Alerts:
    alert = await _of(connection, pool)
    states = await queries.thresholds(connection, pool.id)
    return Alerts(
        pool=pool.name,
        thresholds=[state.threshold for state in states],
        states=states,
        webhook_url=alert.webhook_url,
        webhook_secret=None,
        email=alert.email,
        emails=alert.emails,
        expiring_within_days=alert.expiring_within_days,
        webhook_disabled_at=alert.webhook_disabled_at,
    )


async def states(connection: AsyncConnection, pool_ids: Sequence[int]) -> dict[int, AlertState]:
    """Return where the alerts of these pools stand, where they have some, by the pool's id."""
    return {row.pool_id: row for row in await queries.states(connection, pool_ids)}


def version_of(alerts: Alerts) -> str:
    """Return the version of a pool's alerts: of what was set, not of where the thresholds stand."""
    known = (alerts.pool, alerts.thresholds, alerts.webhook_url, alerts.email, alerts.expiring_within_days)
    further = alerts.emails[1:]
    return version(*known, further) if further else version(*known)


async def _check(connection: AsyncConnection, pool: PoolRef, expected: Expected | None) -> None:
    if expected is not None:
        there = await queries.lock(connection, pool.id)
        expected.check(version_of(await _get(connection, pool)) if there else None)


async def remove(
    connection: AsyncConnection, caller: Caller | None, name: str, expected: Expected | None = None
) -> None:
    """Tell nobody of a pool any more.

    Raises:
        PoolNotFoundError, AlertNotFoundError: there is no such pool, or nobody is told of it.
        PreconditionFailedError: they are not as expected.
    """
    pool = await pools.ref(connection, name)
    await _check(connection, pool, expected)
    if not await queries.remove(connection, pool.id):
        raise AlertNotFoundError(name)
    await audit.record(connection, caller, "alerts.deleted", pool=name)


async def rotate_secret(connection: AsyncConnection, caller: Caller | None, name: str) -> NewSecret:
    """Make a new key for the webhooks' signatures; for a day they are signed with each of before too.

    Raises:
        PoolNotFoundError, AlertNotFoundError: there is no such pool, or no webhook is sent for it.
    """
    pool = await pools.ref(connection, name)
    await queries.lock(connection, pool.id)  # of two at once, the second sees the key of the first
    alert = await _of(connection, pool)
    if alert.webhook_secret is None:
        raise AlertNotFoundError(name)
    secret = hooks.new_secret()
    previous, until = hooks.with_previous(alert.webhook_secret, alert.previous_secrets)
    await queries.set_secret(connection, alert.pool_id, secret, previous)
    await audit.record(connection, caller, "alerts.secret_rotated", pool=name)
    return NewSecret(secret, until)


async def send_test(connection: AsyncConnection, name: str) -> list[DeliveryRecord]:
    """Put a test message on its way, by each channel that is set.

    Raises:
        PoolNotFoundError, AlertNotFoundError: there is no such pool, or nobody is told of it.
    """
    pool = await pools.get(connection, name)
    alert = await _of(connection, pool)
    data = {"pool": name, "available": pool.counts.available - pool.counts.held}
    return await deliveries.send(connection, alert, "pool.test", clock.now(), data)


async def notify_crossed(connection: AsyncConnection) -> None:
    """Compare the counts with the thresholds, and put a message on its way for each one that has fallen."""
    await queries.move_thresholds(connection)
    for row in await queries.fallen(connection, MAX_TOLD):
        event = "pool.exhausted" if row.threshold == 0 else "pool.low"
        data = {"pool": row.name, "threshold": row.threshold, "available": row.available}
        async with past_a_bad_row(connection, "alerts"):
            await deliveries.send(connection, row, event, row.at, data)
            await order.record(
                connection, row.name, "pool.low", {"threshold": row.threshold, "available": row.available}
            )
            await queries.told(connection, row.pool_id, row.threshold)


async def notify_expiring(connection: AsyncConnection) -> None:
    """Put a message on its way for each pool of which codes expire soon."""
    for row in await queries.expiring(connection):
        data = {
            "pool": row.name,
            "within_days": row.expiring_within_days,
            "expiring": row.available,
            "first_expires_at": row.first.isoformat(),
        }
        async with past_a_bad_row(connection, "expiring"):
            await deliveries.send(connection, row, "pool.expiring_soon", row.at, data)
            await queries.told_expiring(connection, row.pool_id)


async def notify_failed_schedules(connection: AsyncConnection) -> None:
    """Put a message on its way for each import schedule that is not tried again before its next regular run."""
    for row in await queries.failed_schedules(connection, MAX_TOLD):
        data = {
            "pool": row.name,
            "schedule_id": str(row.id),
            "import_id": row.import_id and str(row.import_id),
            "error": ASKED if row.asked else row.error[:MAX_ERROR],
            "next_run": row.next_run and row.next_run.isoformat(),
        }
        async with past_a_bad_row(connection, "failed schedules"):
            await deliveries.send(connection, row, "schedule.failed", row.at, data)
            await queries.told_schedule(connection, row.id)


async def _of(connection: AsyncConnection, pool: PoolRef) -> queries.AlertRecord:
    alert = await queries.by_pool(connection, pool.id)
    if alert is None:
        raise AlertNotFoundError(pool.name)
    return alert
