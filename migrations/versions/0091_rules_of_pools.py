"""A pool may say how many codes a customer gets."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0091"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("pool", sa.Column("per_customer", postgresql.JSONB()))


def downgrade() -> None:
    """Take back; pools without their rule know no holds that are not there."""
    op.execute(
        "UPDATE stock SET holds = holds - 1 FROM pool WHERE pool.id = pool_id AND per_customer IS NOT NULL"
    )
    op.drop_column("pool", "per_customer")
