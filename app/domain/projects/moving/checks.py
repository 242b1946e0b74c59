"""What two databases need so that a project can move from one to the other; said with the statements that give it."""

from app.domain.projects.moving.errors import MoveError
from app.domain.projects.moving.tables import Connection

OLDEST = 150_000
"""PostgreSQL 15 is the first that filters rows and columns of a publication."""
CLOCKS_APART = 5.0
"""Seconds by which the clocks of the two machines may differ."""

_SOURCE = """
SELECT current_setting('server_version_num')::integer, current_setting('wal_level'), rolreplication OR rolsuper,
    quote_ident(current_user), has_database_privilege(current_database(), 'CREATE'), quote_ident(current_database())
FROM pg_roles WHERE rolname = current_user
"""
_TARGET = """
SELECT current_setting('server_version_num')::integer,
    has_parameter_privilege('session_replication_role', 'SET'), quote_ident(current_user)
"""
_VERSION = "SELECT max(version_num) FROM alembic_version"


def check(source: Connection, target: Connection) -> None:
    """Tell all that is missing.

    Raises:
        MoveError: something is.
    """
    missing = [*_at_source(source), *_at_target(target)]
    if _one(source, _VERSION) != _one(target, _VERSION):
        missing.append("The two databases are not of the same release: vouchers migrate.")
    apart = abs(float(str(_one(source, _NOW))) - float(str(_one(target, _NOW))))
    if apart > CLOCKS_APART:
        missing.append(f"The clocks of the two databases differ by {apart:.0f} s: set them.")
    if missing:
        raise MoveError("The project cannot move yet.\n" + "\n".join(missing))


_NOW = "SELECT extract(epoch FROM clock_timestamp())"


def _at_source(source: Connection) -> list[str]:
    version, wal, replicates, role, creates, database = source.execute(_SOURCE).fetchall()[0]
    if version < OLDEST:
        return ["The source is older than PostgreSQL 15."]
    missing = []
    if wal != "logical":
        missing.append(
            "The source has wal_level = "
            f"{wal}: ALTER SYSTEM SET wal_level = logical; as an administrator, and a restart of PostgreSQL."
        )
    if not replicates:
        missing.append(
            f"{role} may not follow changes at the source: ALTER ROLE {role} REPLICATION; as an administrator."
        )
    if not creates:
        missing.append(
            f"{role} may not publish at the source: GRANT CREATE ON DATABASE {database} TO {role};"
        )
    return missing


def _at_target(target: Connection) -> list[str]:
    version = int(str(_one(target, "SELECT current_setting('server_version_num')")))
    if version < OLDEST:
        return ["The target is older than PostgreSQL 15."]
    _, sets, role = target.execute(_TARGET).fetchall()[0]
    if not sets:
        statement = f"GRANT SET ON PARAMETER session_replication_role TO {role};"
        return [f"{role} may not store rows as they are at the target: {statement} as an administrator."]
    return []


def _one(connection: Connection, query: str) -> object:
    row = connection.execute(query).fetchone()
    return None if row is None else row[0]
