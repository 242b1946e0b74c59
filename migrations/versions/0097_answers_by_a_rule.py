"""What a pool's rule answered again, so that a repeat is answered alike."""

import sqlalchemy as sa
from alembic import op

revision = "0097"
down_revision = "0064"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "answered_again",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("assignment_id", sa.Uuid(), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )


def downgrade() -> None:
    """Take back; repeats are judged anew then."""
    op.drop_table("answered_again")
