"""A pool in four bytes and a status as text everywhere else; misspelt names are looked up by columns of their own."""

from alembic import op

revision = "0103"
down_revision = "0102"
branch_labels = None
depends_on = None

KEYS = (
    ("alert", "pool_id", "pool", "id", "CASCADE"),
    ("alert_threshold", "pool_id", "alert", "pool_id", "CASCADE"),
    ("bulk_change_code", "change_id", "bulk_change", "id", "CASCADE"),
    ("coming_voucher", "pool_id", "pool", "id", "CASCADE"),
    ("delivery", "pool_id", "pool", "id", "CASCADE"),
    ("hold", "pool_id", "pool", "id", "CASCADE"),
    ("import", "pool_id", "pool", "id", "SET NULL"),
    ("import_chunk", "import_id", "import", "id", "CASCADE"),
    ("import_ignored", "import_id", "import", "id", "CASCADE"),
    ("import_reject", "import_id", "import", "id", "CASCADE"),
    ("stock", "pool_id", "pool", "id", "CASCADE"),
    ("stock_history", "pool_id", "pool", "id", "CASCADE"),
    ("webhook_delivery", "webhook_id", "webhook", "id", "CASCADE"),
)
"""Foreign keys: they come again in 0104, with the project."""
POOL_IDS = (
    *(("pool", "id"), ("alert", "pool_id"), ("alert_threshold", "pool_id"), ("bulk_change", "pool_id")),
    *(
        ("bulk_change", "to_pool_id"),
        ("coming_voucher", "pool_id"),
        ("delivery", "pool_id"),
        ("hold", "pool_id"),
    ),
    *(("import", "pool_id"), ("stock", "pool_id"), ("stock_history", "pool_id")),
)
NAMED = ("pool", "aggregate")
STATES = "'available', 'reserved', 'assigned', 'redeemed', 'expired', 'void'"


def upgrade() -> None:
    """Apply."""
    for table, column, *_ in KEYS:
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_{column}_fkey")
    for table, column in POOL_IDS:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE integer")
    op.execute("""
        ALTER TABLE pool_change ALTER pool_id TYPE integer,
            ALTER before TYPE text COLLATE "C" USING before::text, ALTER after TYPE text COLLATE "C" USING after::text
        """)
    op.execute("DROP TYPE voucher_status")
    for table in NAMED:
        op.execute(f"DROP INDEX {table}_alike_idx, {table}_alike_back_idx")
        op.execute(f"""
            ALTER TABLE {table} ADD COLUMN alike text NOT NULL GENERATED ALWAYS AS (lower(name)) STORED,
                ADD COLUMN alike_back text NOT NULL GENERATED ALWAYS AS (reverse(lower(name))) STORED""")
        for key in ("alike", "alike_back"):
            op.execute(f"CREATE INDEX {table}_{key}_idx ON {table} (project_id, {key} text_pattern_ops)")


def downgrade() -> None:
    """Take back."""
    for table in NAMED:
        op.execute(f"ALTER TABLE {table} DROP COLUMN alike, DROP COLUMN alike_back")
        op.execute(f"CREATE INDEX {table}_alike_idx ON {table} (lower(name) text_pattern_ops)")
        op.execute(f"CREATE INDEX {table}_alike_back_idx ON {table} (reverse(lower(name)) text_pattern_ops)")
    op.execute(f"CREATE TYPE voucher_status AS ENUM ({STATES})")
    op.execute("""
        ALTER TABLE pool_change ALTER pool_id TYPE bigint,
            ALTER before TYPE voucher_status USING before::voucher_status,
            ALTER after TYPE voucher_status USING after::voucher_status""")
    for table, column in POOL_IDS:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE bigint")
    for table, column, to, key, ondelete in KEYS:
        op.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT {table}_{column}_fkey"
            f" FOREIGN KEY ({column}) REFERENCES {to} ({key}) ON DELETE {ondelete}"
        )
