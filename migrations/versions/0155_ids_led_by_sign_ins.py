"""An id that a sign-in led to another customer is told from one that somebody merged: who registers gets it back.

The new column is false in what is there, so nothing is written; the lock is held for a moment.
"""

import sqlalchemy as sa
from alembic import op

revision = "0155"
down_revision = "0154"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "customer_alias",
        sa.Column("by_sign_in", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_column("customer_alias", "by_sign_in")
