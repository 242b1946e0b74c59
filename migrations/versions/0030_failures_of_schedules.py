"""A schedule knows how often its run has failed, and which run was judged last."""

from alembic import op

revision = "0030"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.execute("ALTER TABLE import_schedule ADD failures bigint DEFAULT 0 NOT NULL, ADD judged uuid")


def downgrade() -> None:
    """Take back."""
    op.execute("ALTER TABLE import_schedule DROP failures, DROP judged")
