"""The last import of a pool is found by an index."""

from alembic import op

revision = "0096"
down_revision = "0062"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.drop_index("import_pool_id_idx", "import")
    op.create_index("import_pool_id_idx", "import", ["pool_id", "created_at"])


def downgrade() -> None:
    """Take back."""
    op.drop_index("import_pool_id_idx", "import")
    op.create_index("import_pool_id_idx", "import", ["pool_id"])
