"""Ids of customers may lead to other persons."""

import sqlalchemy as sa
from alembic import op

revision = "0094"
down_revision = "0080"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "customer_alias",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("merging", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("customer_alias_pkey")),
    )
    op.create_index("customer_alias_customer_idx", "customer_alias", ["customer_id"])


def downgrade() -> None:
    """Take back; who was merged stays so, and old ids are new persons again."""
    op.drop_table("customer_alias")
