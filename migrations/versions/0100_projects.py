"""Projects: all that is there becomes the project `default`, number 1. No table is rewritten here."""

import sqlalchemy as sa
from alembic import op

from app.platform.row_security import ensure_role

revision = "0100"
down_revision = "0098"
branch_labels = None
depends_on = None

TABLES = (
    *(
        "aggregate",
        "alert",
        "alert_threshold",
        "answered_again",
        "audit_entry",
        "bulk_change",
        "bulk_change_code",
    ),
    *("coming_voucher", "customer", "customer_alias", "delivery", "erased_event", "event", "hold", "import"),
    *(
        "import_chunk",
        "import_ignored",
        "import_reject",
        "import_schedule",
        "message_default",
        "message_seen",
    ),
    *("pool", "pool_change", "redemption", "redemption_mapping", "stock", "stock_history", "tracked_id"),
    *("voucher_note", "webhook", "webhook_delivery"),
)
"""`voucher` and `assignment` get their column as they are written anew."""

CURRENT = "coalesce(nullif(current_setting('app.project', true), '')::integer, 1)"


def upgrade() -> None:
    """Add the column by a constant, which rewrites nothing."""
    ensure_role(op.get_bind())
    op.create_table(
        "project",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(r"name ~ '^[^\s/]{1,100}$'", name=op.f("project_name_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("project_pkey")),
        sa.UniqueConstraint("name", name=op.f("project_name_key")),
    )
    op.execute("INSERT INTO project (name) VALUES ('default')")
    for table in TABLES:
        op.execute(
            f'ALTER TABLE "{table}" ADD COLUMN project_id integer NOT NULL DEFAULT 1,'
            f" ALTER COLUMN project_id SET DEFAULT {CURRENT}"
        )
    op.execute(
        "ALTER TABLE api_key ADD COLUMN project_id integer NOT NULL DEFAULT 1"
        " CONSTRAINT api_key_project_id_fkey REFERENCES project"
    )
    op.create_index("api_key_project_idx", "api_key", ["project_id"])


def downgrade() -> None:
    """Take back; there is one project then."""
    op.drop_column("api_key", "project_id")
    for table in reversed(TABLES):
        op.drop_column(table, "project_id")
    op.drop_table("project")
