"""A project that is being deleted says so: its keys are refused from then on."""

import sqlalchemy as sa
from alembic import op

revision = "0110"
down_revision = "0105"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("project", sa.Column("deleting_since", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Take back. What was about to be deleted is there again."""
    op.drop_column("project", "deleting_since")
