"""How Alembic reaches the database: one migrator at a time, and never a long wait for a lock."""

from typing import Any

from alembic import context
from sqlalchemy import text

from app.platform import aside
from app.platform.engines import sync_engine
from app.platform.settings import get_settings
from app.schema.base import Base


def _ours(name: str | None, kind: str, _parents: Any) -> bool:
    return kind != "table" or not (name or "").startswith("procrastinate_")


def _migrate() -> None:
    url = context.config.get_main_option("sqlalchemy.url")
    settings = get_settings()
    if url:
        settings = settings.model_copy(update={"database_url": url, "direct_database_url": None})
    with sync_engine(settings) as engine, engine.connect() as connection:
        aside.take_lock(connection)  # of two starts at once one migrates, and the other finds it done
        # A migration that cannot have its lock soon gives up, instead of queueing all traffic behind itself.
        connection.execute(text("SET lock_timeout = '5s'"))
        connection.execute(text("SET enable_seqscan = on"))  # one that changes a table may read all of it
        aside.recover(connection)
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            include_name=_ours,
            transaction_per_migration=True,  # one that is interrupted goes on with the one that it was at
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


_migrate()
