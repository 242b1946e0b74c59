"""Imports whole: where the bytes came from, how far they are, and schedules."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("import", sa.Column("sealed", sa.LargeBinary(), nullable=True))
    op.add_column("import", sa.Column("schedule_id", sa.Uuid(), nullable=True))
    op.add_column("import", sa.Column("size", sa.BigInteger(), nullable=True))
    op.add_column("import", sa.Column("sha256", sa.Text(), nullable=True))
    op.add_column("import", sa.Column("repeats", sa.Uuid(), nullable=True))
    op.add_column("import", sa.Column("undone", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("import", sa.Column("progress", sa.Float(), server_default="0", nullable=False))
    op.drop_column("import", "rows")  # the sum of the figures, so that it always adds up
    op.create_index(op.f("import_schedule_id_idx"), "import", ["schedule_id"], unique=False)
    op.create_index("import_repeat_idx", "import", ["pool_id", "sha256"], unique=False)
    # Files are mostly packed already or read once: no time is spent on compressing what is soon deleted.
    op.execute("ALTER TABLE import_chunk ALTER COLUMN data SET STORAGE EXTERNAL")
    op.create_table(
        "import_schedule",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("source", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("options", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("next_run", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("import_schedule_pkey")),
    )
    op.create_index(op.f("import_schedule_next_run_idx"), "import_schedule", ["next_run"], unique=False)


def downgrade() -> None:
    """Take back."""
    op.drop_table("import_schedule")
    op.execute("ALTER TABLE import_chunk ALTER COLUMN data SET STORAGE EXTENDED")
    op.drop_index("import_repeat_idx", table_name="import")
    op.drop_index(op.f("import_schedule_id_idx"), table_name="import")
    op.add_column("import", sa.Column("rows", sa.BigInteger(), server_default="0", nullable=False))
    for name in ("progress", "undone", "repeats", "sha256", "size", "schedule_id", "sealed"):
        op.drop_column("import", name)
