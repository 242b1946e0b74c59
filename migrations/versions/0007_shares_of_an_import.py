"""An import is merged in shares: how far each has come."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. What an import under way has merged is merged in both of its shares."""
    op.execute(
        "ALTER TABLE import ALTER merged_to TYPE bigint[]"
        " USING CASE WHEN merged_to IS NOT NULL THEN ARRAY[merged_to, merged_to] END"
    )


def downgrade() -> None:
    """Take back. An import under way is to have ended before."""
    op.execute("ALTER TABLE import ALTER merged_to TYPE bigint USING merged_to[1]")
