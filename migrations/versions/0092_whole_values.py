"""An aggregate says how its events are compared; those that are there go on as they did."""

import sqlalchemy as sa
from alembic import op

revision = "0092"
down_revision = "0091"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("aggregate", sa.Column("match", sa.Text(), server_default="contains", nullable=False))
    op.create_check_constraint("aggregate_match_check", "aggregate", "match IN ('equal', 'contains')")


def downgrade() -> None:
    """Take back."""
    op.drop_column("aggregate", "match")
