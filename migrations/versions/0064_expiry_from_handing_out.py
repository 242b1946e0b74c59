"""A pool may say when a code ends for who gets it, counted from then."""

import sqlalchemy as sa
from alembic import op

revision = "0064"
down_revision = "0066"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply: columns without a value take no rewrite."""
    op.add_column("pool", sa.Column("expires_after_days", sa.Integer()))
    op.add_column("voucher", sa.Column("own_expires_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Take back; what was given keeps the expiry that its customer was told."""
    op.execute(
        "UPDATE stock SET holds = holds - 1 FROM pool WHERE pool.id = pool_id AND expires_after_days IS NOT NULL"
    )
    op.drop_column("voucher", "own_expires_at")
    op.drop_column("pool", "expires_after_days")
