"""What a move of a project remembers: how far it has copied, and how long the old rows are kept."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0140"
down_revision = "0130"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("project_move", sa.Column("progress", JSONB, server_default="{}", nullable=False))
    op.add_column("project_move", sa.Column("keep", sa.Interval, server_default="1 day", nullable=False))


def downgrade() -> None:
    """Take back."""
    op.drop_column("project_move", "keep")
    op.drop_column("project_move", "progress")
