"""What `assigned` and `redeemed` do not tell of the vouchers that were given for good.

It begins with nothing, in the stock as in its history: rates are differences, so they are right from here on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("stock", sa.Column("given_besides", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("stock_history", sa.Column("given_besides", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("stock_history", "given_besides")
    op.drop_column("stock", "given_besides")
