"""The application: what is in it, and what it holds while it runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp

from app import logs, operation, problems
from app.alerts.router import router as alerts
from app.assignments.assigner import Assigner
from app.assignments.hot_path import HotPath
from app.assignments.router import router as assignments
from app.audit.router import router as audit
from app.auth.service import KeyRing
from app.body_limit import BodyLimit
from app.customers.router import router as customers
from app.database import create_direct, create_engine
from app.erasure.router import router as erasure
from app.forecast.router import router as forecast
from app.holds.router import router as holds
from app.imports.router import router as imports
from app.ledger.router import router as ledger
from app.pools.router import router as pools
from app.redemptions.router import router as redemptions
from app.rendering.gatherer import Gatherer
from app.rendering.renderers import Renderers
from app.rendering.router import router as rendering
from app.schedules.router import router as schedules
from app.settings import Settings, get_settings
from app.state import State
from app.vouchers.router import router as vouchers

ROUTERS = (
    pools,
    holds,
    imports,
    schedules,
    redemptions,
    vouchers,
    ledger,
    assignments,
    customers,
    rendering,
    erasure,
    alerts,
    forecast,
    audit,
    operation.router,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service as an ASGI application, on a database that is migrated."""
    settings = settings or get_settings()
    logs.configure(settings.log_level)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = create_engine(settings)
        direct = create_direct(settings)
        await direct.open()
        renderers = Renderers(settings)
        app.state.vouchers = State(
            settings,
            engine,
            KeyRing(engine, settings.key_cache_seconds),
            Assigner(engine, direct),
            renderers,
            Gatherer(engine, renderers),
        )
        yield
        await renderers.close()
        await direct.close()
        await engine.dispose()

    app = FastAPIOffline(
        title="Voucher Pools",
        version="0.1.0",
        summary="Pools of voucher codes, each handed out exactly once",
        redoc_url=None,
        lifespan=lifespan,
    )
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    return app


def create_asgi() -> ASGIApp:
    """What a server runs: the application, the short way into it, and the request log around both."""
    return with_hot_path(create_app())


def with_hot_path(app: FastAPI) -> ASGIApp:
    """The application as a server runs it."""
    return logs.RequestLog(HotPath(app))
