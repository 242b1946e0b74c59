"""Which job comes next: projects have their turns, and none takes all places of a worker.

The queue by itself hands out the oldest job. One project's thousand deliveries, or ten long imports, would keep all
others waiting. So the projects that have jobs waiting come one after another, each with its oldest; what the clock
starts is of no project and comes first. A worker has some places more than a project may have, and the last one that
is free is for a project that has none.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from procrastinate import App
from procrastinate.connector import BaseAsyncConnector
from procrastinate.jobs import Job
from procrastinate.manager import JobManager

MOST_ASKED = 64
"""Projects of which a job is looked for by one statement."""
MOST_LOOKS = 8
"""Statements of one look for a job; the next look goes on behind them. Many may have jobs for later alone."""
OF_JOB = "coalesce((args ->> 'project')::integer, 0)"
"""SQL: the project of a job; 0 where it has none. An index leads to the jobs of each that wait (migration 0120)."""

NEXT = f"""
WITH RECURSIVE around (project, n) AS (
    SELECT %(last)s::integer, 0
    UNION ALL
    SELECT (
        SELECT {OF_JOB} FROM procrastinate_jobs
        WHERE status = 'todo' AND queue_name = %(queue)s AND {OF_JOB} > around.project
        ORDER BY queue_name, {OF_JOB} LIMIT 1
    ), n + 1 FROM around WHERE project IS NOT NULL AND n < {MOST_ASKED}
), doing AS MATERIALIZED (
    SELECT {OF_JOB} AS project, count(*) AS n FROM procrastinate_jobs
    WHERE worker_id = %(worker)s::bigint AND queue_name = %(queue)s AND status = 'doing' GROUP BY 1
), turn AS MATERIALIZED (
    SELECT project, coalesce(doing.n, 0) AS has, %(places)s::integer - (SELECT coalesce(sum(n), 0) FROM doing) AS free
    FROM (SELECT 0 AS project, 0 AS n UNION ALL SELECT project, n FROM around WHERE n > 0) AS asked
    LEFT JOIN doing USING (project) WHERE project IS NOT NULL ORDER BY asked.n
), taken AS (
UPDATE procrastinate_jobs SET status = 'doing', worker_id = %(worker)s::bigint WHERE id = (
    SELECT found.id FROM turn, LATERAL (
        SELECT id FROM procrastinate_jobs AS job
        WHERE status = 'todo' AND queue_name = %(queue)s AND {OF_JOB} = turn.project
            AND (scheduled_at IS NULL OR scheduled_at <= now())
            AND (lock IS NULL OR NOT EXISTS (
                SELECT FROM procrastinate_jobs AS other WHERE other.lock = job.lock AND (
                    other.status = 'doing' OR (other.status = 'todo' AND (
                        other.priority > job.priority OR (other.priority = job.priority AND other.id < job.id)
                    ))
                )
            ))
        ORDER BY priority DESC, id LIMIT 1 FOR UPDATE OF job SKIP LOCKED
    ) AS found
    WHERE turn.project = 0 OR turn.has = 0 OR (turn.has < %(most)s::integer AND turn.free > 1)
    LIMIT 1
)
RETURNING id, status, task_name, priority, lock, queueing_lock, args, scheduled_at, queue_name, attempts, worker_id,
    {OF_JOB} AS project
)
SELECT taken.*, (SELECT project FROM around WHERE n = {MOST_ASKED}) AS upto FROM (SELECT) AS one LEFT JOIN taken ON true
"""  # noqa: S608  (made of constants)


def places_of(most: int) -> int:
    """Return how many jobs a worker runs at the same time, where those of one project are so many at the most."""
    return most + max(1, most // 2)


@contextmanager
def handed_out_fairly(app: App, connector: BaseAsyncConnector, most: Mapping[str, int]) -> Iterator[None]:
    """Let the workers of the block be handed out jobs project by project.

    Args:
        app: whose workers.
        connector: of the job queue.
        most: of each queue, how many jobs of a project a worker runs at the same time.
    """
    usual = app.job_manager
    app.job_manager = FairJobs(connector, most)
    try:
        yield
    finally:
        app.job_manager = usual


class FairJobs(JobManager):
    """Hands out jobs project by project."""

    def __init__(self, connector: BaseAsyncConnector, most: Mapping[str, int]) -> None:
        """Make it; see `handed_out_fairly`."""
        super().__init__(connector)
        self._most = most
        self._last = dict.fromkeys(most, 0)

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """Return the job that comes next in a queue, taken by the worker; None where none may be begun."""
        (queue,) = queues or ()
        begin, wrapped = self._last[queue], False
        for _ in range(MOST_LOOKS):
            row = await self._look(queue, worker_id, self._last[queue])
            project, upto = row.pop("project"), row.pop("upto")
            if row["id"] is not None:
                self._last[queue] = project or self._last[queue]
                return Job.from_row(row)
            self._last[queue] = upto or 0
            if (upto is None and (wrapped or not begin)) or (wrapped and upto is not None and upto >= begin):
                break  # that was all of them
            wrapped = wrapped or upto is None
        return None

    async def _look(self, queue: str, worker_id: int, last: int) -> dict[str, Any]:  # type: ignore[explicit-any]  # as the library gives a row
        most = self._most[queue]
        return await self.connector.execute_query_one_async(
            NEXT, queue=queue, worker=worker_id, last=last, most=most, places=places_of(most)
        )
