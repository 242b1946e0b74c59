"""The application: what is in it, and what it holds while it runs."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp

from app.api import about, operation, problem_pages
from app.api import imports as imports_api
from app.api.alerts import router as alerts
from app.api.api_keys import router as api_keys
from app.api.assignments import router as assignments
from app.api.audit import router as audit
from app.api.bulk_changes import moves
from app.api.bulk_changes import router as bulk_changes
from app.api.customers import router as customers
from app.api.examples import EXAMPLES
from app.api.forecast import router as forecast
from app.api.holds import router as holds
from app.api.hot_path import HotPath
from app.api.imports import router as imports
from app.api.nodes import router as nodes
from app.api.pools import router as pools
from app.api.projects import router as projects
from app.api.readiness import Readiness
from app.api.redemptions import router as redemptions
from app.api.rendering import router as rendering
from app.api.schedules import router as schedules
from app.api.snippets import router as snippets
from app.api.trackers import BODIES as TRACKER_BODIES
from app.api.trackers import router as trackers
from app.api.tracking import router as tracking
from app.api.vouchers import router as vouchers
from app.api.webhooks import router as webhooks
from app.api.webhooks import sent
from app.console.application import mount as mount_console
from app.domain.access.keys.ring import KeyRing
from app.domain.access.keys.service import KEYS
from app.domain.assignments.assigner import Assigner
from app.domain.changes.schemas import BulkChangeCreate
from app.domain.rendering.batcher import RenderBatcher
from app.domain.rendering.renderers import Renderers
from app.domain.tracking.gathering import Gathering
from app.platform import background, logs, tracing
from app.platform.database import follow_time
from app.platform.databases import MAIN, SHORT_CONNECTIONS, Databases, Place
from app.platform.projects import of_project, share_of
from app.platform.settings import Settings, get_settings
from app.platform.standby import Reads, Standby
from app.platform.telling import listen
from app.server.connections import tell_connections
from app.server.marks import mark_databases
from app.server.request_log import RequestLog
from app.server.traced import TracedRequests
from app.web import openapi, problems
from app.web.body_limit import BodyLimit
from app.web.dependencies import hold
from app.web.doors import guarded
from app.web.failed_keys import FailedKeys
from app.web.guessed_codes import GuessedCodes
from app.web.head import Head
from app.web.slashes import EncodedSlashes

ROUTERS = (
    pools,
    holds,
    imports,
    schedules,
    tracking,
    trackers,
    redemptions,
    vouchers,
    bulk_changes,
    moves,
    assignments,
    customers,
    rendering,
    nodes,
    snippets,
    alerts,
    webhooks,
    forecast,
    audit,
    api_keys,
    projects,
    operation.router,
    problem_pages.router,
)


def running(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return what an application lives in: it holds connections, keys and renderers from its start to its end."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        databases = Databases(settings)
        main = databases.main
        renderers = Renderers(settings)
        url = settings.read_database_url
        standby = None if url is None else Standby(settings, url)

        def of_each(place: Place) -> Sequence[object]:
            """Make what a project has for itself: its requests wait for each other, never for another's."""
            database_id, project = place
            database = databases.of(database_id)
            short = database.short
            own = of_project(database.engine, project, share_of(settings.database_connections), beside=short)
            connections = database.direct.of(project)
            mine = renderers.of(place)
            return (
                own,
                Assigner(of_project(short, project, share_of(SHORT_CONNECTIONS, 1)), connections),
                Gathering(own, connections),
                Reads(standby if database_id == MAIN else None, project),
                mine,
                RenderBatcher(own, connections, mine),
            )

        ring = KeyRing(databases, settings.key_cache_seconds, settings.keys_outlive_control_seconds)
        readiness = Readiness(databases, renderers, settings.home)
        hold(
            app,
            settings,
            main.engine,
            databases,
            ring,
            FailedKeys(),
            GuessedCodes(),
            main.direct,
            renderers,
            readiness,
            of_project=of_each,
        )
        beside = [
            background.begin("connections", partial(tell_connections, databases)),
            background.begin("marks", partial(mark_databases, databases)),
            background.begin("time", partial(follow_time, main.short)),
        ]
        if settings.key_cache_seconds:
            beside.append(background.begin("keys", partial(listen, settings, KEYS, ring.hear)))
        yield
        for task in beside:
            task.cancel()
        await renderers.close()
        if standby is not None:
            await standby.engine.dispose()
        await databases.close()

    return lifespan


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the service as an ASGI application, on a database that is migrated."""
    settings = settings or get_settings()
    logs.configure(settings.log_level)
    app = FastAPIOffline(
        title="Voucher Pools",
        version=version("voucher-pools"),
        summary="Pools of voucher codes, each handed out exactly once",
        description=about.DESCRIPTION,
        redoc_url=None,
        lifespan=running(settings),
        generate_unique_id_function=openapi.operation_id,
    )
    for router in ROUTERS:
        app.include_router(guarded(router))
    mount_console(app)
    problems.install(app)
    openapi.install(
        app,
        (*imports_api.BODIES, *TRACKER_BODIES, BulkChangeCreate),
        EXAMPLES,
        tags=about.TAGS,
        contact=about.CONTACT,
        license_info=about.LICENCE,
        servers=about.SERVERS,
        webhooks=sent.routes,
    )
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(Head)
    app.add_middleware(EncodedSlashes)
    return app


def create_asgi() -> ASGIApp:
    """Return what a server runs: the application, the short way into it, and the request log around both."""
    settings = get_settings()
    tracing.begin(settings)
    served = with_hot_path(create_app(settings))
    return served if tracing.current.traces is None else TracedRequests(served, tracing.current.traces)


def with_hot_path(app: FastAPI) -> ASGIApp:
    """Return the application as a server runs it."""
    return RequestLog(HotPath(app))
