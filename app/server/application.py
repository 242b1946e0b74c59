"""The application: what is in it, and what it holds while it runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp

from app.api import operation, problem_pages
from app.api.alerts import router as alerts
from app.api.assignments import router as assignments
from app.api.audit import router as audit
from app.api.customers import router as customers
from app.api.forecast import router as forecast
from app.api.holds import router as holds
from app.api.hot_path import HotPath
from app.api.imports import router as imports
from app.api.pools import router as pools
from app.api.redemptions import router as redemptions
from app.api.rendering import router as rendering
from app.api.schedules import router as schedules
from app.api.tracking import router as tracking
from app.api.vouchers import router as vouchers
from app.domain.access.keys.service import KeyRing
from app.domain.assignments.assigner import Assigner
from app.domain.rendering.batcher import RenderBatcher
from app.domain.rendering.renderers import Renderers
from app.platform import logs
from app.platform.database import create_driver_pool, create_engine
from app.platform.settings import Settings, get_settings
from app.server.request_log import RequestLog
from app.web import openapi, problems
from app.web.body_limit import BodyLimit
from app.web.dependencies import hold
from app.web.head import Head
from app.web.query import KnownParameters

ROUTERS = (
    pools,
    holds,
    imports,
    schedules,
    tracking,
    redemptions,
    vouchers,
    assignments,
    customers,
    rendering,
    alerts,
    forecast,
    audit,
    operation.router,
    problem_pages.router,
)

TAGS = [
    {"name": "pools", "description": "Named sets of vouchers, and their counts."},
    {
        "name": "imports",
        "description": "From files, URLs, databases and storage to vouchers; once, or by the clock.",
    },
    {"name": "vouchers", "description": "One voucher, its history, lists and exports."},
    {
        "name": "assignments",
        "description": "Hand out codes, each exactly once; who got what.",
    },
    {"name": "holds", "description": "Set vouchers aside for a campaign before it starts."},
    {"name": "rendering", "description": "Messages from templates, with the codes in them."},
    {
        "name": "redemptions",
        "description": "Events of the shop, where they hold codes, and what came of these.",
    },
    {"name": "customers", "description": "Customers, their properties, and aggregates over their events."},
    {"name": "alerts", "description": "Be told in time that a pool runs low."},
    {"name": "forecast", "description": "When a pool runs out, and how its stock went."},
    {"name": "audit", "description": "Who did what."},
    {"name": "operation", "description": "Health and metrics."},
]
LICENCE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service as an ASGI application, on a database that is migrated."""
    settings = settings or get_settings()
    logs.configure(settings.log_level)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = create_engine(settings)
        direct = create_driver_pool(settings)
        await direct.open()
        renderers = Renderers(settings)
        hold(
            app,
            settings,
            engine,
            KeyRing(engine, settings.key_cache_seconds),
            Assigner(engine, direct),
            renderers,
            RenderBatcher(engine, renderers),
        )
        yield
        await renderers.close()
        await direct.close()
        await engine.dispose()

    app = FastAPIOffline(
        title="Voucher Pools",
        version=version("voucher-pools"),
        summary="Pools of voucher codes, each handed out exactly once",
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=openapi.operation_id,
        dependencies=[Depends(KnownParameters())],
    )
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app)
    openapi.install(
        app, tags=TAGS, contact={"name": "Voucher Pools"}, license_info=LICENCE, servers=[{"url": "/"}]
    )
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(Head)
    return app


def create_asgi() -> ASGIApp:
    """What a server runs: the application, the short way into it, and the request log around both."""
    return with_hot_path(create_app())


def with_hot_path(app: FastAPI) -> ASGIApp:
    """The application as a server runs it."""
    return RequestLog(HotPath(app))
