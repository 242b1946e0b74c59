"""The application: what is in it, and what it holds while it runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app import health, logs, problems
from app.assignments.assigner import Assigner
from app.assignments.router import router as assignments
from app.auth.service import KeyRing
from app.customers.router import router as customers
from app.database import create_engine
from app.pools.router import router as pools
from app.redemptions.router import router as redemptions
from app.rendering.renderers import Renderers
from app.rendering.router import router as rendering
from app.settings import Settings, get_settings
from app.state import State
from app.vouchers.router import router as vouchers

ROUTERS = (pools, redemptions, vouchers, assignments, customers, rendering, health.router)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service as an ASGI application, on a database that is migrated."""
    settings = settings or get_settings()
    logs.configure(settings.log_level)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = create_engine(settings)
        renderers = Renderers(settings)
        app.state.vouchers = State(
            settings, engine, KeyRing(engine, settings.key_cache_seconds), Assigner(engine), renderers
        )
        yield
        await renderers.close()
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
