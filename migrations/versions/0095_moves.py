"""Alerts have several addresses; codes move to other pools."""

import sqlalchemy as sa
from alembic import op

revision = "0095"
down_revision = "0094"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "alert",
        sa.Column("further_emails", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.add_column("delivery", sa.Column("place", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("bulk_change", sa.Column("to_pool_id", sa.BigInteger()))
    op.add_column("bulk_change", sa.Column("to_pool", sa.Text()))
    op.add_column("bulk_change", sa.Column("most", sa.BigInteger()))
    op.add_column("voucher_note", sa.Column("from_pool", sa.Text()))


def downgrade() -> None:
    """Take back; only the first address is told, and histories do not say where a code was before."""
    op.drop_column("voucher_note", "from_pool")
    op.drop_column("bulk_change", "most")
    op.drop_column("bulk_change", "to_pool")
    op.drop_column("bulk_change", "to_pool_id")
    op.drop_column("delivery", "place")
    op.drop_column("alert", "further_emails")
