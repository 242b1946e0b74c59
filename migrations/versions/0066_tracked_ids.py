"""Ids as shops track them, and the times of properties."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0066"
down_revision = "0063"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "tracked_id",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("shared", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("name", "value", name=op.f("tracked_id_pkey")),
    )
    op.create_index("tracked_id_customer_idx", "tracked_id", ["customer_id"])
    op.add_column("customer", sa.Column("property_times", postgresql.JSONB(astext_type=sa.Text())))


def downgrade() -> None:
    """Take back; who was merged stays so, and ids that are tracked again are new customers."""
    op.drop_column("customer", "property_times")
    op.drop_table("tracked_id")
