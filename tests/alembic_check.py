"""`alembic check` on a database of its own: the migrations make what `app/models.py` says."""

import tempfile
from pathlib import Path

from alembic import command

from app.local_postgres import LocalPostgres
from app.migrate import config, migrate

with tempfile.TemporaryDirectory(prefix="vp-") as home, LocalPostgres(Path(home)) as server:
    migrate(server.url)
    command.check(config(server.url))
