"""`/v1/pools/{pool}/alerts`."""

import uuid
from datetime import datetime

from fastapi import APIRouter, Response, status
from pydantic import TypeAdapter

from app.domain.alerts import service
from app.domain.alerts.deliveries import service as deliveries
from app.domain.alerts.deliveries.schemas import Deliveries, DeliveryOut, DeliveryRecord
from app.domain.alerts.errors import AlertNotFoundError
from app.domain.alerts.schemas import Alerts, AlertsOut, AlertsUpdate, SecretOut
from app.domain.pools.errors import PoolNotFoundError
from app.platform.database import run_act
from app.platform.errors import InvalidRequestError
from app.platform.versions import PreconditionFailedError
from app.web import etag, pagination
from app.web.dependencies import Connection, Engine, Settings
from app.web.guard import Manager
from app.web.headers import bearing
from app.web.idempotency import Once
from app.web.parameters import PoolPath
from app.web.problems import problems

router = APIRouter(prefix="/v1/pools/{pool}/alerts", tags=["alerts"])
KEY = TypeAdapter(tuple[datetime, uuid.UUID])
"""What the cursor of a list holds."""
NOT_FOUND = problems(PoolNotFoundError, AlertNotFoundError)


@router.put(
    "",
    response_model=AlertsOut,
    responses=bearing(200, "ETag")
    | problems(PoolNotFoundError, InvalidRequestError, PreconditionFailedError),
)
async def set_alerts(
    pool: PoolPath,
    body: AlertsUpdate,
    engine: Engine,
    settings: Settings,
    caller: Manager,
    expected: etag.IfMatch,
    response: Response,
) -> Alerts:
    """Set the thresholds of a pool: each is told once when what anybody may draw falls to it, again after that rose.

    Anybody may draw what is available, less what holds keep for their campaigns.

    The webhook follows Standard Webhooks; the key of its signatures is in the reply that makes it, once.
    """
    await service.check_url(settings, body)
    alerts = await run_act(engine, service.put, caller, settings, pool, body, expected)
    etag.tag(response, service.version_of(alerts))
    return alerts


@router.get("", response_model=AlertsOut, responses=bearing(200, "ETag") | NOT_FOUND)
async def get_alerts(pool: PoolPath, connection: Connection, _caller: Manager, response: Response) -> Alerts:
    """Return the alerts of a pool, and where each threshold stands."""
    alerts = await service.get(connection, pool)
    etag.tag(response, service.version_of(alerts))
    return alerts


@router.delete(
    "", status_code=status.HTTP_204_NO_CONTENT, responses=NOT_FOUND | problems(PreconditionFailedError)
)
async def delete_alerts(
    pool: PoolPath, connection: Connection, caller: Manager, expected: etag.IfMatch
) -> None:
    """Delete the pool's alerts."""
    await service.remove(connection, caller, pool, expected)


@router.post("/secret", response_model=SecretOut, responses=bearing(200, "Idempotency-Replayed") | NOT_FOUND)
async def rotate_alert_secret(pool: PoolPath, connection: Connection, caller: Manager, keyed: Once) -> object:
    """Make a new signing key; for a day webhooks are signed with the old one too."""
    return await keyed.once(lambda: service.rotate_secret(connection, caller, pool))


@router.post(
    "/test",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=Deliveries,
    responses=bearing(202, "Idempotency-Replayed") | NOT_FOUND,
)
async def send_test_alert(pool: PoolPath, connection: Connection, _caller: Manager, keyed: Once) -> object:
    """Send a test message by each channel; how it went is in the list of deliveries a moment later."""

    async def send() -> dict[str, list[DeliveryRecord]]:
        return {"items": await service.send_test(connection, pool)}

    return await keyed.once(send)


@router.get(
    "/deliveries",
    response_model=pagination.Page[DeliveryOut],
    responses=problems(PoolNotFoundError, InvalidRequestError),
)
async def list_alert_deliveries(
    pool: PoolPath,
    connection: Connection,
    _caller: Manager,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> pagination.Listed[DeliveryRecord]:
    """List the messages of a pool's alerts and how they went, newest first, for 90 days."""
    rows = await deliveries.list_page(connection, pool, pagination.decode(cursor, KEY), limit + 1)
    return pagination.page(rows, limit, lambda row: (row.created_at, row.id))
