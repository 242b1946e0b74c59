"""A voucher may bring more than its code: a PIN, a value, a link."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0093"
down_revision = "0086"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; a column that is null takes no rewrite and no room."""
    op.add_column("voucher", sa.Column("attributes", postgresql.JSONB()))


def downgrade() -> None:
    """Take back."""
    op.drop_column("voucher", "attributes")
