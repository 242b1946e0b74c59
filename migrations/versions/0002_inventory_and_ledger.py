"""The inventory, the ledger, the counts, and what stands around them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "api_key",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("api_key_pkey")),
        sa.UniqueConstraint("digest", name=op.f("api_key_digest_key")),
    )
    op.create_index(op.f("api_key_prefix_idx"), "api_key", ["prefix"], unique=False)
    op.create_table(
        "assignment",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("pool_id", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(collation="C"), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=True),
        sa.Column("campaign_id", sa.Text(), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("occurrence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("test", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("assigned_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("assignment_pkey")),
    )
    op.create_index(
        "assignment_campaign_idx",
        "assignment",
        ["campaign_id", "assigned_at"],
        unique=False,
        postgresql_where=sa.text("campaign_id IS NOT NULL"),
    )
    op.create_index(
        "assignment_customer_idx",
        "assignment",
        ["customer_id", "assigned_at"],
        unique=False,
        postgresql_where=sa.text("customer_id IS NOT NULL"),
    )
    op.create_index("assignment_pool_idx", "assignment", ["pool_id", "assigned_at"], unique=False)
    op.create_index(
        "assignment_released_idx",
        "assignment",
        ["code"],
        unique=False,
        postgresql_where=sa.text("released_at IS NOT NULL"),
    )
    op.create_table(
        "customer",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column(
            "properties",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("customer_pkey")),
    )
    op.create_table(
        "event",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("properties", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("timestamp", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("event_pkey")),
    )
    op.create_index("event_customer_idx", "event", ["customer_id", "event_type", "timestamp"], unique=False)
    op.create_index("event_type_idx", "event", ["event_type", "timestamp"], unique=False)
    op.create_table(
        "pool",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("name ~ '^[^\\s/]{1,100}$'", name=op.f("pool_name_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("pool_pkey")),
        sa.UniqueConstraint("name", name=op.f("pool_name_key")),
    )
    op.create_table(
        "redemption",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(collation="C"), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("redeemed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("redemption_pkey")),
    )
    op.create_index("redemption_code_idx", "redemption", ["code"], unique=False)
    op.create_index(op.f("redemption_event_id_idx"), "redemption", ["event_id"], unique=False)
    op.create_index(
        "redemption_once_idx",
        "redemption",
        ["code"],
        unique=True,
        postgresql_where=sa.text("outcome = 'redeemed'"),
    )
    op.create_table(
        "redemption_mapping",
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("property", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_type", "property", name=op.f("redemption_mapping_pkey")),
    )
    op.create_table(
        "voucher",
        sa.Column("code", sa.Text(collation="C"), nullable=False),
        sa.Column("pool_id", sa.BigInteger(), nullable=False),
        sa.Column("draw_key", sa.BigInteger(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "available", "reserved", "assigned", "redeemed", "expired", "void", name="voucher_status"
            ),
            server_default="available",
            nullable=False,
        ),
        sa.Column("import_id", sa.Uuid(), nullable=True),
        sa.Column("imported_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("assignment_id", sa.Uuid(), nullable=True),
        sa.Column("assigned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("redeemed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("char_length(code) BETWEEN 1 AND 255", name=op.f("voucher_code_check")),
        sa.PrimaryKeyConstraint("code", name=op.f("voucher_pkey")),
    )
    op.create_index("voucher_draw_idx", "voucher", ["pool_id", "status", "draw_key"], unique=False)
    op.create_table(
        "import",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("pool_id", sa.BigInteger(), nullable=True),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column(
            "status",
            sa.Enum("queued", "running", "succeeded", "failed", name="import_status"),
            server_default="queued",
            nullable=False,
        ),
        sa.Column("dry_run", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("source", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("options", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("merged_to", sa.BigInteger(), nullable=True),
        sa.Column("total", sa.BigInteger(), nullable=True),
        sa.Column("rows", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("imported", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ignored", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("in_other_pool", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("invalid", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["pool_id"], ["pool.id"], name=op.f("import_pool_id_fkey"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("import_pkey")),
    )
    op.create_index(op.f("import_pool_id_idx"), "import", ["pool_id"], unique=False)
    op.create_table(
        "stock",
        sa.Column("pool_id", sa.BigInteger(), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.Column("available", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reserved", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("assigned", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("redeemed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("expired", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("void", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["pool_id"], ["pool.id"], name=op.f("stock_pool_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("pool_id", "slot", name=op.f("stock_pkey")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "import_chunk",
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["import_id"], ["import.id"], name=op.f("import_chunk_import_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("import_id", "number", name=op.f("import_chunk_pkey")),
    )
    op.create_table(
        "import_reject",
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("line", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("other_pool", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["import_id"], ["import.id"], name=op.f("import_reject_import_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("import_id", "line", name=op.f("import_reject_pkey")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("import_reject")
    op.drop_table("import_chunk")
    op.drop_table("stock")
    op.drop_index(op.f("import_pool_id_idx"), table_name="import")
    op.drop_table("import")
    op.drop_index("voucher_draw_idx", table_name="voucher")
    op.drop_table("voucher")
    op.drop_table("redemption_mapping")
    op.drop_index(
        "redemption_once_idx", table_name="redemption", postgresql_where=sa.text("outcome = 'redeemed'")
    )
    op.drop_index(op.f("redemption_event_id_idx"), table_name="redemption")
    op.drop_index("redemption_code_idx", table_name="redemption")
    op.drop_table("redemption")
    op.drop_table("pool")
    op.drop_index("event_type_idx", table_name="event")
    op.drop_index("event_customer_idx", table_name="event")
    op.drop_table("event")
    op.drop_table("customer")
    op.drop_index(
        "assignment_released_idx",
        table_name="assignment",
        postgresql_where=sa.text("released_at IS NOT NULL"),
    )
    op.drop_index("assignment_pool_idx", table_name="assignment")
    op.drop_index(
        "assignment_customer_idx",
        table_name="assignment",
        postgresql_where=sa.text("customer_id IS NOT NULL"),
    )
    op.drop_index(
        "assignment_campaign_idx",
        table_name="assignment",
        postgresql_where=sa.text("campaign_id IS NOT NULL"),
    )
    op.drop_table("assignment")
    op.drop_index(op.f("api_key_prefix_idx"), table_name="api_key")
    op.drop_table("api_key")
    op.execute("DROP TYPE voucher_status")
    op.execute("DROP TYPE import_status")
