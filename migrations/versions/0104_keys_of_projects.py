"""The project leads every key and every index that is asked within a project.

What is large is built concurrently, each by itself; what was done before an interruption is left as it is. Indexes
that a sweep reads by time stay led by time: so a sweep finds what is due whatever the project.
"""

from alembic import op
from sqlalchemy import text

from app.platform.indexes import lead_by_project, lead_no_more

revision = "0104"
down_revision = "0103"
branch_labels = None
depends_on = None

KEYS = (
    ("alert", "pool_id", "pool", "id", "CASCADE"),
    ("alert_threshold", "pool_id", "alert", "pool_id", "CASCADE"),
    ("bulk_change_code", "change_id", "bulk_change", "id", "CASCADE"),
    ("coming_voucher", "pool_id", "pool", "id", "CASCADE"),
    ("delivery", "pool_id", "pool", "id", "CASCADE"),
    ("hold", "pool_id", "pool", "id", "CASCADE"),
    ("import", "pool_id", "pool", "id", "SET NULL (pool_id)"),
    ("import_chunk", "import_id", "import", "id", "CASCADE"),
    ("import_ignored", "import_id", "import", "id", "CASCADE"),
    ("import_reject", "import_id", "import", "id", "CASCADE"),
    ("stock", "pool_id", "pool", "id", "CASCADE"),
    ("stock_history", "pool_id", "pool", "id", "CASCADE"),
    ("webhook_delivery", "webhook_id", "webhook", "id", "CASCADE"),
)
INDEXES = (
    *("aggregate_pkey", "alert_pkey", "alert_threshold_pkey", "answered_again_pkey", "audit_entry_pkey"),
    *("audit_entry_pool_idx", "audit_entry_action_idx", "bulk_change_pkey", "bulk_change_created_at_idx"),
    *("bulk_change_code_pkey", "coming_voucher_pkey", "coming_voucher_import_idx", "coming_voucher_pool_idx"),
    *(
        "customer_pkey",
        "customer_alias_pkey",
        "customer_alias_customer_idx",
        "delivery_pkey",
        "delivery_pool_idx",
    ),
    *("erased_event_pkey", "event_pkey", "event_customer_idx", "event_type_idx", "hold_pkey"),
    *("hold_pool_id_campaign_id_key", "import_pkey", "import_schedule_id_idx", "import_repeat_idx"),
    *("import_pool_id_idx", "import_chunk_pkey", "import_ignored_pkey", "import_reject_pkey"),
    *(
        "import_schedule_pkey",
        "message_default_pkey",
        "message_seen_pkey",
        "message_seen_customer_idx",
        "pool_pkey",
    ),
    *(
        "pool_name_key",
        "pool_change_pkey",
        "pool_change_changed_at_idx",
        "redemption_pkey",
        "redemption_code_idx",
    ),
    *("redemption_event_idx", "redemption_customer_idx", "redemption_issue_idx", "redemption_deciding_idx"),
    *(
        "redemption_cancel_idx",
        "redemption_once_idx",
        "redemption_mapping_pkey",
        "stock_pkey",
        "stock_history_pkey",
    ),
    *(
        "tracked_id_pkey",
        "tracked_id_customer_idx",
        "voucher_note_pkey",
        "voucher_note_code_idx",
        "webhook_pkey",
    ),
    *("webhook_delivery_pkey", "webhook_delivery_webhook_idx", "webhook_delivery_pending_idx"),
)


def upgrade() -> None:
    """Apply."""
    op.execute("SET maintenance_work_mem = '256MB'")
    lead_by_project(INDEXES)
    there = set(op.get_bind().scalars(text("SELECT conname FROM pg_constraint WHERE contype = 'f'")))
    for table, column, to, key, ondelete in KEYS:
        name = f"{table}_{column}_fkey"
        refers = (
            f"FOREIGN KEY (project_id, {column}) REFERENCES {to} (project_id, {key}) ON DELETE {ondelete}"
        )
        if name not in there:
            op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {refers} NOT VALID")
        op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
    op.execute("RESET maintenance_work_mem")


def downgrade() -> None:
    """Take back."""
    for table, column, *_ in KEYS:
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {table}_{column}_fkey")
    lead_no_more(INDEXES[::-1])
