"""The order of arrival counts in blocks: one for each statement that stores events, which numbers them within it.

Each statement took one number and then set the sequence to the last of its events. Two at once could set it back, so
that what came later counted as earlier where two things were said of one moment.
"""

from alembic import op

revision = "0153"
down_revision = "0152"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.execute("ALTER SEQUENCE arrival INCREMENT BY 16384")


def downgrade() -> None:
    """Take back."""
    op.execute("ALTER SEQUENCE arrival INCREMENT BY 1")
