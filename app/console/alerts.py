"""*What happens when codes run out*: whom a pool tells, and what was told."""

import uuid
from datetime import datetime
from urllib.parse import urlencode

from fastapi import APIRouter, Response
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncEngine

from app.console.once import once, sent_before
from app.console.pages import PAGE, check_sure, see, seen_version, show, version_shown, whole, wrong
from app.console.pages import model as checked
from app.console.session import Manager, ManagerForm, Visit
from app.domain.alerts import service
from app.domain.alerts.deliveries import service as deliveries
from app.domain.alerts.deliveries.schemas import DeliveryRecord
from app.domain.alerts.errors import AlertNotFoundError
from app.domain.alerts.schemas import Alerts, AlertsUpdate
from app.domain.pools import service as pools
from app.platform.database import transaction
from app.platform.errors import DomainError, InvalidRequestError
from app.platform.versions import Expected, PreconditionFailedError
from app.schema.names import nfc
from app.web import pagination
from app.web.dependencies import Engine

router = APIRouter(prefix="/alerts")
KEY = TypeAdapter(tuple[datetime, uuid.UUID])


@router.get("")
async def page(visit: Manager, engine: Engine) -> Response:
    """Show the alerts of a pool, or ask for the pool."""
    return await _page(visit, engine)


@router.post("")
async def put(visit: ManagerForm, engine: Engine) -> Response:
    """Set whom a pool tells."""
    try:
        wanted = checked(
            AlertsUpdate,
            {
                "thresholds": _thresholds(visit.text("thresholds")),
                "webhook_url": visit.given("webhook_url"),
                "emails": _addresses(visit.text("emails")),
                "expiring_within_days": visit.given("expiring_within_days"),
            },
        )
        secret = await sent_before(engine, visit)
        if secret is None:
            await service.check_url(visit.settings, wanted)
            async with transaction(engine) as connection:
                secret = await once(
                    connection,
                    visit,
                    lambda: service.put(
                        connection, visit.caller, visit.settings, _pool(visit), wanted, _seen(visit)
                    ),
                    lambda alerts: alerts.webhook_secret or "",
                )
    except DomainError as error:
        return await _page(visit, engine, error=error)
    if secret:
        return await _page(visit, engine, secret=secret)
    return see("/alerts", "alerts-set", pool=_pool(visit))


@router.post("/test")
async def test(visit: ManagerForm, engine: Engine) -> Response:
    """Send a test message."""
    async with transaction(engine) as connection:
        await once(
            connection,
            visit,
            lambda: service.send_test(connection, _pool(visit)),
            lambda sent: str(len(sent)),
        )
    return see("/alerts", "test-sent", pool=_pool(visit))


@router.post("/delete")
async def delete(visit: ManagerForm, engine: Engine) -> Response:
    """Tell nobody of a pool any more."""
    try:
        check_sure(visit)
        async with transaction(engine) as connection:
            await service.remove(connection, visit.caller, _pool(visit), seen_version(visit))
    except (InvalidRequestError, PreconditionFailedError) as error:
        return await _page(visit, engine, error=error)
    return see("/alerts", "alerts-deleted", pool=_pool(visit))


async def _page(
    visit: Visit, engine: AsyncEngine, error: DomainError | None = None, **about: object
) -> Response:
    pool = _pool(visit) or None
    alerts: Alerts | None = None
    listed: pagination.Listed[DeliveryRecord] = {"items": [], "next_cursor": None}
    async with transaction(engine) as connection:
        names = [each.name for each in await pools.search(connection, "", None, 200)]
        if pool is not None:
            try:
                alerts = await service.get(connection, pool)
            except AlertNotFoundError:
                alerts = None
            start = pagination.decode(visit.request.query_params.get("cursor"), KEY)
            rows = await deliveries.list_page(connection, pool, start, PAGE + 1)
            listed = pagination.page(rows, PAGE, lambda row: (row.created_at, row.id))
    version = "" if alerts is None else service.version_of(alerts)
    at = "/console/alerts" + ("" if pool is None else "?" + urlencode({"pool": pool}))
    return show(
        visit,
        "alerts.html",
        at,
        pools=names,
        pool=pool,
        alerts=alerts,
        version=version_shown(visit, error, version),
        error=error,
        **listed,
        **about,
    )


def _seen(visit: Visit) -> Expected:
    """Return what the form was made from: a version, or that nobody was told yet."""
    return Expected(frozenset({visit.given("version")}))


def _pool(visit: Visit) -> str:
    """Return the pool that was named, as names are kept."""
    return nfc(visit.text("pool").strip())


def _addresses(text: str) -> list[str] | None:
    return [part.strip() for part in text.replace(";", ",").split(",") if part.strip()] or None


def _thresholds(text: str) -> list[int]:
    parts = [part.strip() for part in text.replace(";", ",").split(",") if part.strip()]
    numbers = [number for part in parts if isinstance(number := whole(part), int)]
    if not parts or len(numbers) < len(parts):
        raise wrong("thresholds", "Give whole numbers with commas between, such as 1000, 100, 0.")
    return numbers
