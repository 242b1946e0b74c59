"""In which projects something is due, and whose job comes next, is found by indexes."""

from alembic import op
from sqlalchemy import text

revision = "0120"
down_revision = "0111"
branch_labels = None
depends_on = None

INDEXES = (
    (
        "alert_threshold_untold_idx",
        "alert_threshold",
        "project_id",
        "fell_at IS NOT NULL AND told_at IS NULL",
    ),
    ("delivery_created_at_idx", "delivery", "created_at", None),
    ("hold_expires_at_idx", "hold", "expires_at", "expires_at IS NOT NULL"),
    (
        "import_schedule_untold_idx",
        "import_schedule",
        "project_id",
        "gave_up_at IS NOT NULL AND told_at IS NULL",
    ),
)


def upgrade() -> None:
    """Apply."""
    for name, table, column, where in INDEXES:
        op.create_index(name, table, [column], postgresql_where=None if where is None else text(where))
    op.execute(
        "CREATE INDEX procrastinate_jobs_turn_idx ON procrastinate_jobs"
        " (queue_name, (coalesce((args ->> 'project')::integer, 0)), priority DESC, id) WHERE status = 'todo'"
    )


def downgrade() -> None:
    """Take back."""
    op.execute("DROP INDEX procrastinate_jobs_turn_idx")
    for name, table, _, _ in INDEXES:
        op.drop_index(name, table)
