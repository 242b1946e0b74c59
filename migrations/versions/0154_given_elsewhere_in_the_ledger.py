"""The ledger tells what was given elsewhere: webhooks have it from its change alone, and the forecast leaves it out.

The new column is null in what is there, so no large table is written; the lock is held for a moment.
"""

import sqlalchemy as sa
from alembic import op

revision = "0154"
down_revision = "0153"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("assignment", sa.Column("given_elsewhere", sa.Boolean(), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("assignment", "given_elsewhere")
