"""The process that does the jobs."""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg
from procrastinate import JobContext, PsycopgConnector
from procrastinate.exceptions import ConnectorException, UniqueViolation
from procrastinate.jobs import Status
from procrastinate.worker import Worker
from sqlalchemy.exc import SQLAlchemyError

from app.domain.access.replies import tasks as replies
from app.domain.alerts import tasks as alerts
from app.domain.alerts.deliveries import tasks as deliveries
from app.domain.changes import tasks as changes
from app.domain.customers import tasks as customers
from app.domain.forecast import tasks as forecast
from app.domain.holds import tasks as holds
from app.domain.imports import tasks as imports
from app.domain.imports.schedules import tasks as schedules
from app.domain.projects import tasks as projects
from app.domain.projects.moving import tasks as moving
from app.domain.redemptions import tasks as redemptions
from app.domain.vouchers import tasks as vouchers
from app.domain.webhooks import tasks as webhooks
from app.platform import background, tracing
from app.platform.clock import clock
from app.platform.connections import Opened, wait_for
from app.platform.database import follow_time
from app.platform.databases import check_version
from app.platform.engines import create_job_engine, job_pool_arguments
from app.platform.fair_queue import handed_out_fairly, places_of
from app.platform.jobs import FETCHES, LONG, SWEEPS, URGENT, in_its_project, jobs, log
from app.platform.settings import Settings
from app.server import retention
from app.server.crew import Crew
from app.server.worker_health import Pulse

TASKS = (
    alerts,
    changes,
    customers,
    deliveries,
    forecast,
    holds,
    imports,
    moving,
    projects,
    redemptions,
    replies,
    retention,
    schedules,
    vouchers,
    webhooks,
)
"""Modules that define tasks: importing one registers its tasks with the queue."""

TIME_SECONDS = 1.0
"""Between two looks whether time went back."""

LOST = (psycopg.Error, SQLAlchemyError, ConnectorException, OSError)
"""Errors that tell of the database, of each library by which the worker uses it, and of the network."""

PAUSE_SECONDS = 0.5
"""Between two tries to run jobs."""

URGENT_CONCURRENCY = 16
"""Urgent jobs of a project that one worker runs at the same time: they wait for the network most of their time."""


SWEEP_CONCURRENCY = 4
"""Sweeps that one worker runs at the same time."""

SPARE_THREADS = 4

HEARTBEAT_SECONDS = 2


STALLED_SECONDS = 10
"""A worker silent for so long is taken for dead, and its jobs are run again."""


@jobs.periodic(cron="* * * * * */5", periodic_id="stalled")
@jobs.task(
    name="retry_stalled_jobs",
    aliases=["app.jobs.retry_stalled_jobs"],
    queue=SWEEPS,
    queueing_lock="retry_stalled_jobs",
    pass_context=True,
)
async def retry_stalled_jobs(context: JobContext, timestamp: int) -> None:
    """Run again what a worker that died had begun; every task may be run twice."""
    del timestamp
    manager = context.app.job_manager
    for job in await manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_SECONDS):
        log.warning("job of a dead worker", job=job.id, task=job.task_name)
        try:
            await manager.retry_job(job)
        except UniqueViolation:  # its next run is queued already, and does what this one left
            await manager.finish_job(job, Status.FAILED, delete_job=False)


async def work(
    settings: Settings,
    beat: Callable[[], None] = lambda: None,
    pulse: Pulse | None = None,
    *,
    crew: Crew | None = None,
    further: bool = False,
) -> None:
    """Run jobs until the process is told to stop (SIGTERM or SIGINT); an outage of the database ends nothing.

    Args:
        settings: of this process, with the database whose jobs it runs.
        beat: is called each second while the process is alive.
        pulse: is kept, where somebody asks for it.
        crew: runs those of other databases beside.
        further: whether it is a further database: one that is not migrated to this release is waited for.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
    tracing.begin(settings)
    beating = background.begin("beat", partial(_beat, beat, pulse))
    others = background.begin("crew", partial(crew.keep, stop)) if crew is not None else None
    opened = check_version if further else None
    working = background.begin("jobs", partial(_go_on, stop, settings, pulse, opened))
    try:
        await stop.wait()
    finally:
        stop.set()  # for whom a cancellation is lost on
        await _end([working], settings.stop_seconds)
        beating.cancel()
        if others is not None:
            await others


async def _beat(beat: Callable[[], None], pulse: Pulse | None) -> None:
    while True:
        beat()
        if pulse is not None:
            pulse.beat()
        await asyncio.sleep(1)


async def _go_on(stop: asyncio.Event, settings: Settings, pulse: Pulse | None, opened: Opened | None) -> None:
    """Run jobs as long as the database answers, and again as soon as it does; raise what does not come of it."""
    while not stop.is_set():
        try:
            await wait_for(settings, opened=opened)
            await _run(stop, settings, pulse)
        except LOST as error:
            log.error(
                "the worker lost its database, and goes on as soon as it can", error=type(error).__name__
            )
        await asyncio.sleep(PAUSE_SECONDS)


async def _end(tasks: Iterable[asyncio.Task[object]], seconds: float) -> None:
    """Cancel tasks until all have ended, again each time that many seconds have passed.

    Once is not enough: before Python 3.12 `asyncio.wait_for`, by which a pool waits for its connections, loses a
    cancellation that comes together with what it waits for. Whoever may finish something for so long is told to stop
    besides, or looks whether it is: that is never lost.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=seconds)


async def _run(stop: asyncio.Event, settings: Settings, pulse: Pulse | None) -> None:
    engine = create_job_engine(settings)
    # Each import takes a thread for its whole time: those that are fetched must leave some to the others.
    most = {
        LONG: settings.job_concurrency,
        FETCHES: settings.fetch_concurrency,
        SWEEPS: SWEEP_CONCURRENCY,
        URGENT: URGENT_CONCURRENCY,
    }
    threads = ThreadPoolExecutor(places_of(most[LONG]) + places_of(most[FETCHES]) + SPARE_THREADS)
    asyncio.get_running_loop().set_default_executor(threads)
    connector = PsycopgConnector(**job_pool_arguments(settings))
    grace = max(1.0, settings.stop_seconds - 5)
    beside = [background.begin("time", partial(follow_time, engine))]
    if pulse is not None:
        beside.append(background.begin("pulse", partial(pulse.follow, engine)))
    try:
        with jobs.replace_connector(connector) as app, handed_out_fairly(app, connector, most):
            async with app.open_async():
                worker = partial(
                    Worker,
                    app,
                    fetch_job_polling_interval=1,
                    update_heartbeat_interval=HEARTBEAT_SECONDS,
                    stalled_worker_timeout=STALLED_SECONDS,
                    shutdown_graceful_timeout=grace,
                    delete_jobs="successful",
                    additional_context={"engine": engine, "settings": settings},
                    install_signal_handlers=False,
                    worker_middleware=[in_its_project],
                )
                await _until_one_ends(
                    [worker(queues=[queue], concurrency=places_of(n)) for queue, n in most.items()],
                    _until_time_goes_back(),
                    stop.wait(),
                    seconds=grace + 1,
                )
    finally:
        for task in beside:
            task.cancel()
        # Once more, for where this was cancelled while it opened: the tasks of an open pool outlive any cancellation.
        await connector.close_async()
        await engine.dispose()


async def _until_time_goes_back() -> None:
    """Wait until the database's clock is put back: the queue would begin nothing until it had caught up."""
    before = clock.steps_back
    while clock.steps_back == before:  # noqa: ASYNC110  (threads learn the time too)
        await asyncio.sleep(TIME_SECONDS)
    log.warning("the database's clock went back: the worker begins anew")


async def _until_one_ends(
    workers: Sequence[Worker], *others: Coroutine[object, None, object], seconds: float
) -> None:
    """Run workers; when one or another of these ends, or this is cancelled, let all workers finish."""
    tasks = [asyncio.create_task(act) for act in (*(worker.run() for worker in workers), *others)]  # type: ignore[no-untyped-call]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for worker in workers:
            worker.stop()  # type: ignore[no-untyped-call]
        await _end(tasks, seconds)
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
