"""The ledger is written anew, as the vouchers are: led by its project, in an order of columns that wastes no byte."""

from alembic import op

revision = "0102"
down_revision = "0101"
branch_labels = None
depends_on = None

CURRENT = "coalesce(nullif(current_setting('app.project', true), '')::integer, 1)"
ALL = (
    "pool_id, assigned_at, occurrence, test, id, code, customer_id, campaign_id, message_id, lapsed, customer_mark,"
    " lease_until, lease_seconds, released_at, hold_id"
)
INDEXES = (
    ("customer_idx", "customer_id, assigned_at", "customer_id IS NOT NULL"),
    ("campaign_idx", "campaign_id, assigned_at", "campaign_id IS NOT NULL"),
    ("released_idx", "code", "released_at IS NOT NULL"),
)


def upgrade() -> None:
    """Copy the table, and let the copy take its place."""
    op.execute("SET LOCAL enable_seqscan = on")
    op.execute("SET LOCAL synchronize_seqscans = off")
    op.execute("SET LOCAL maintenance_work_mem = '256MB'")
    op.execute("LOCK TABLE assignment IN SHARE MODE")
    op.execute(f"""
        CREATE TABLE assignment_new (
            project_id integer NOT NULL DEFAULT {CURRENT},
            pool_id integer NOT NULL,
            assigned_at timestamptz NOT NULL DEFAULT now(),
            occurrence integer NOT NULL DEFAULT 0,
            test boolean NOT NULL DEFAULT false,
            id uuid NOT NULL,
            code text COLLATE "C" NOT NULL,
            customer_id text,
            campaign_id text,
            message_id text,
            lapsed boolean,
            customer_mark bytea,
            lease_until timestamptz,
            lease_seconds bigint,
            released_at timestamptz,
            hold_id uuid
        )""")
    op.execute(f"INSERT INTO assignment_new (project_id, {ALL}) SELECT 1, {ALL} FROM assignment")  # noqa: S608  (made of constants)
    op.execute("ALTER TABLE assignment_new ADD CONSTRAINT assignment_new_pkey PRIMARY KEY (project_id, id)")
    for name, columns, where in INDEXES:
        _index(f"assignment_new_{name}", "assignment_new", f"project_id, {columns}", where)
    _index("assignment_new_pool_idx", "assignment_new", "pool_id, assigned_at", None)
    _index("assignment_new_lease_idx", "assignment_new", "lease_until", "lease_until IS NOT NULL")
    op.execute("SET LOCAL lock_timeout = '60s'")  # one that reads long: what was copied is worth the wait
    op.execute("DROP TABLE assignment")
    op.execute("ALTER TABLE assignment_new RENAME TO assignment")
    for index in ("pkey", "pool_idx", "lease_idx", *(name for name, _, _ in INDEXES)):
        op.execute(f"ALTER INDEX assignment_new_{index} RENAME TO assignment_{index}")
    # Not an empty one: plans that are made of what is known to be empty do not suit what comes into it.
    op.execute("DO $$ BEGIN IF EXISTS (SELECT FROM assignment) THEN ANALYZE assignment; END IF; END $$")


def downgrade() -> None:
    """Take back."""
    for name in ("pool_idx", *(name for name, _, _ in INDEXES)):
        op.execute(f"DROP INDEX assignment_{name}")
    op.execute("""
        ALTER TABLE assignment DROP CONSTRAINT assignment_pkey, ALTER pool_id TYPE bigint,
            ALTER occurrence TYPE bigint, DROP COLUMN project_id,
            ADD CONSTRAINT assignment_pkey PRIMARY KEY (id)""")
    _index("assignment_pool_idx", "assignment", "pool_id, assigned_at", None)
    for name, columns, where in INDEXES:
        _index(f"assignment_{name}", "assignment", columns, where)


def _index(name: str, table: str, columns: str, where: str | None) -> None:
    op.execute(f"CREATE INDEX {name} ON {table} ({columns})" + (f" WHERE {where}" if where else ""))
