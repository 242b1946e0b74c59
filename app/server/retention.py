"""What is old goes, where the operator says so: in small batches, and never what a promise needs.

It belongs to no room, for it is one habit over the tables of several. What is kept for ever: vouchers, the ledger,
redemptions and the defaults that messages showed, for outcomes, counts and the replies to repeats follow from these.
"""

from dataclasses import dataclass
from datetime import timedelta

from procrastinate import JobContext
from sqlalchemy.ext.asyncio import AsyncEngine

from app.platform.forgetting import forget
from app.platform.jobs import LONG, engine_of, jobs, log, settings_of
from app.platform.projects import everywhere
from app.platform.settings import Settings


@dataclass(frozen=True, slots=True)
class Rule:
    """What of a table is old: by which column, and by which setting."""

    table: str
    column: str
    setting: str


RULES = (
    Rule("event", "received_at", "keep_events_days"),
    Rule("message_seen", "seen_at", "keep_messages_days"),
    Rule("answered_again", "answered_at", "keep_messages_days"),
    Rule("audit_entry", "at", "keep_audit_days"),
)


async def forget_old(engine: AsyncEngine, settings: Settings) -> dict[str, int]:
    """Delete what the settings say is old in what an engine sees; return how many rows of each table went.

    A table of which that fails is told in the log, and the others have their turns.
    """
    gone = {}
    for rule in RULES:
        days: int | None = getattr(settings, rule.setting)
        if days is None:
            continue
        try:
            gone[rule.table] = await forget(engine, rule.table, rule.column, timedelta(days=days))
        except Exception as error:  # noqa: BLE001  (whatever it was)
            log.error("old rows cannot be deleted", table=rule.table, error=type(error).__name__)
    return gone


@jobs.periodic(cron="17 * * * *", periodic_id="forget_old")
@jobs.task(name="forget_old", queue=LONG, queueing_lock="forget_old", lock="forget_old", pass_context=True)
async def run_forget_old(context: JobContext, timestamp: int) -> None:
    """Every hour: delete what is old, and jobs that failed long ago."""
    del timestamp
    settings = settings_of(context)
    gone = await forget_old(everywhere(engine_of(context)), settings)
    await context.app.job_manager.delete_old_jobs(
        nb_hours=settings.keep_failed_jobs_days * 24,
        include_failed=True,
        include_cancelled=True,
        include_aborted=True,
    )
    if any(gone.values()):
        log.info("old rows were deleted", **gone)
