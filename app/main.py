"""The application: what is in it, and what it holds while it runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app import health, logs, problems
from app.alerts.router import router as alerts
from app.assignments.assigner import Assigner
from app.assignments.router import router as assignments
from app.audit.router import router as audit
from app.auth.service import KeyRing
from app.database import create_engine
from app.forecast.router import router as forecast
from app.pools.router import router as pools
from app.settings import Settings, get_settings
from app.state import State
from app.vouchers.router import router as vouchers

ROUTERS = (pools, vouchers, assignments, alerts, forecast, audit, health.router)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service as an ASGI application, on a database that is migrated."""
    settings = settings or get_settings()
    logs.configure(settings.log_level)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = create_engine(settings)
        app.state.vouchers = State(
            settings, engine, KeyRing(engine, settings.key_cache_seconds), Assigner(engine)
        )
        yield
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
    app.add_middleware(logs.RequestLog)
    return app
