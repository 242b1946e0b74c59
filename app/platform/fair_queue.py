"""Which job comes next: projects have their turns, and none takes all places of a worker.

The queue by itself hands out the oldest job. One project's thousand deliveries, or ten long imports, would keep all
others waiting. So the projects that have jobs waiting come one after another, each with its oldest; what the clock
starts is of no project and comes first. A worker has some places more than a project may have, and the last one that
is free is for a project that has none.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from procrastinate import App
from procrastinate.connector import BaseAsyncConnector
from procrastinate.jobs import Job
from procrastinate.manager import JobManager

MOST_ASKED = 32
"""Projects of which a job is looked for at a time; the next look goes on behind the one that had its turn."""
OF_JOB = "coalesce((args ->> 'project')::integer, 0)"
"""SQL: the project of a job; 0 where it has none. An index leads to the jobs of each that wait (migration 0120)."""

NEXT = f"""
WITH RECURSIVE around (project, n, round) AS (
    VALUES (0, 0, 0), (%(last)s, 0, 1), (0, 0, 2)
    UNION ALL
    SELECT (
        SELECT {OF_JOB} FROM procrastinate_jobs
        WHERE status = 'todo' AND queue_name = %(queue)s AND {OF_JOB} > around.project
        ORDER BY queue_name, {OF_JOB} LIMIT 1
    ), n + 1, round FROM around WHERE project IS NOT NULL AND round > 0 AND n < {MOST_ASKED}
), doing AS MATERIALIZED (
    SELECT {OF_JOB} AS project, count(*) AS n FROM procrastinate_jobs
    WHERE worker_id = %(worker)s AND queue_name = %(queue)s AND status = 'doing' GROUP BY 1
), turn AS MATERIALIZED (
    SELECT project, coalesce(doing.n, 0) AS has, %(places)s - (SELECT coalesce(sum(n), 0) FROM doing) AS free
    FROM around LEFT JOIN doing USING (project)
    WHERE project IS NOT NULL AND (round = 0 OR around.n > 0) ORDER BY round, around.n
)
UPDATE procrastinate_jobs SET status = 'doing', worker_id = %(worker)s WHERE id = (
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
    WHERE turn.project = 0 OR turn.has = 0 OR (turn.has < %(most)s AND turn.free > 1)
    LIMIT 1
)
RETURNING id, status, task_name, priority, lock, queueing_lock, args, scheduled_at, queue_name, attempts, worker_id,
    {OF_JOB} AS project
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
        most = self._most[queue]
        rows = await self.connector.execute_query_all_async(
            NEXT,
            queue=queue,
            worker=worker_id,
            last=self._last[queue],
            most=most,
            places=places_of(most),
        )
        if not rows:
            return None
        (row,) = rows
        project = row.pop("project")
        if project:
            self._last[queue] = project
        return Job.from_row(row)
