"""Hours in which nothing changed take no row of the stock history: the last one says until when it was so."""

import sqlalchemy as sa
from alembic import op

revision = "0121"
down_revision = "0120"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("stock_history", sa.Column("same_until", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Take back; the hours in which nothing changed are left out."""
    op.drop_column("stock_history", "same_until")
