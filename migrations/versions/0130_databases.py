"""A project says in which database it lives; the replies that are kept are its own, and move with it.

Of the tables only the control database's rows count. Elsewhere each project is in `main`, for it is where it is.
"""

import sqlalchemy as sa
from alembic import op

from app.platform.row_security import secure

revision = "0130"
down_revision = "0128"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Of replies a day's are there."""
    op.create_table(
        "database",
        sa.Column("id", sa.Integer, sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("url", sa.LargeBinary),
        sa.Column("draining_since", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="database_pkey"),
        sa.UniqueConstraint("name", name="database_name_key"),
        sa.CheckConstraint(r"name ~ '^[^\s/]{1,100}$'", name="database_name_check"),
    )
    op.execute("INSERT INTO database (name) VALUES ('main')")
    op.add_column("project", sa.Column("database_id", sa.Integer, server_default="1", nullable=False))
    op.create_foreign_key("project_database_id_fkey", "project", "database", ["database_id"], ["id"])
    op.create_table(
        "project_move",
        sa.Column("project_id", sa.Integer, nullable=False),
        sa.Column("source_id", sa.Integer, nullable=False),
        sa.Column("target_id", sa.Integer, nullable=False),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("step_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("project_id", name="project_move_pkey"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="project_move_project_id_fkey"),
        sa.ForeignKeyConstraint(["source_id"], ["database.id"], name="project_move_source_id_fkey"),
        sa.ForeignKeyConstraint(["target_id"], ["database.id"], name="project_move_target_id_fkey"),
    )
    op.add_column("kept_reply", sa.Column("project_id", sa.Integer, server_default="1", nullable=False))
    op.execute(
        "UPDATE kept_reply SET project_id = api_key.project_id FROM api_key"
        " WHERE api_key.id = key_id AND api_key.project_id <> 1"
    )
    op.execute(
        "ALTER TABLE kept_reply ALTER project_id SET DEFAULT"
        " coalesce(nullif(current_setting('app.project', true), '')::integer, 1),"
        " DROP CONSTRAINT kept_reply_pkey,"
        " ADD CONSTRAINT kept_reply_pkey PRIMARY KEY (project_id, key_id, idempotency_key)"
    )
    secure(op.get_bind())


def downgrade() -> None:
    """Take back. Projects that live elsewhere are out of reach of the release before."""
    op.execute(
        "DROP POLICY project ON kept_reply; DROP POLICY owner ON kept_reply;"
        " ALTER TABLE kept_reply NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY"
    )
    op.execute(
        "ALTER TABLE kept_reply DROP CONSTRAINT kept_reply_pkey,"
        " ADD CONSTRAINT kept_reply_pkey PRIMARY KEY (key_id, idempotency_key), DROP COLUMN project_id"
    )
    op.drop_table("project_move")
    op.drop_column("project", "database_id")
    op.drop_table("database")
