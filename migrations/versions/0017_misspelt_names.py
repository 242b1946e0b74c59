"""A misspelt name of a pool or an aggregate is looked up from the front and from the back."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    for table in ("pool", "aggregate"):
        op.create_index(f"{table}_alike_idx", table, [sa.text("lower(name) text_pattern_ops")])
        op.create_index(f"{table}_alike_back_idx", table, [sa.text("reverse(lower(name)) text_pattern_ops")])


def downgrade() -> None:
    """Take back."""
    for table in ("pool", "aggregate"):
        op.drop_index(f"{table}_alike_back_idx", table_name=table)
        op.drop_index(f"{table}_alike_idx", table_name=table)
