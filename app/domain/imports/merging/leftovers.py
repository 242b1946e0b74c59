"""What an import that failed leaves behind: nothing, unless something of it is in the pool."""

import uuid

from psycopg import Connection
from psycopg.rows import TupleRow

from app.domain.imports.merging import chunks
from app.schema.inventory import STATES

# Nothing of it is in the pool: none was merged, or nothing was to be, or the pool has gone.
NO_FIGURES = """
UPDATE import SET imported = 0, ignored = 0, in_other_pool = 0, invalid = 0, suspicious = 0, conflicting = 0,
    total = NULL
WHERE project_id = %(project)s AND id = %(id)s
    AND (imported + ignored + in_other_pool = 0 OR dry_run OR pool_id IS NULL)
"""
HAS_NONE = " AND ".join(
    "NOT EXISTS (SELECT FROM voucher WHERE voucher.project_id = %(project)s AND voucher.pool_id = pool.id"
    f" AND {state})"
    for state in STATES
)
"""SQL: whether a `pool` has no voucher; each index of its vouchers is asked for one entry."""

FORGET_REJECTS = "DELETE FROM import_reject WHERE project_id = %(project)s AND import_id = %(id)s"
FORGET_IGNORED = "DELETE FROM import_ignored WHERE project_id = %(project)s AND import_id = %(id)s"
# Whoever refers to the pool, or imports into it, waits for this lock, and finds the pool gone or makes it anew.
LOCK_POOL = f"""
SELECT pool.id FROM pool JOIN import ON import.project_id = %(project)s AND import.pool_id = pool.id
WHERE pool.project_id = %(project)s AND import.id = %(id)s AND EXISTS (
        SELECT FROM import AS maker
        WHERE maker.project_id = %(project)s AND maker.pool_id = pool.id AND maker.made_pool
    ) AND {HAS_NONE}
FOR UPDATE OF pool
"""  # noqa: S608  (made of constants)
# The audit tells of all that people did to a pool, in whatever room.
REMOVE_POOL = f"""
DELETE FROM pool USING import
WHERE import.project_id = %(project)s AND import.id = %(id)s
    AND pool.project_id = %(project)s AND pool.id = import.pool_id AND pool.description IS NULL
    AND {HAS_NONE}
    AND NOT EXISTS (SELECT FROM coming_voucher AS coming WHERE coming.project_id = %(project)s AND pool_id = pool.id)
    AND NOT EXISTS (SELECT FROM assignment WHERE assignment.project_id = %(project)s AND pool_id = pool.id)
    AND NOT EXISTS (
        SELECT FROM import AS other
        WHERE other.project_id = %(project)s AND other.pool_id = pool.id AND other.status <> 'failed'
    )
    AND NOT EXISTS (SELECT FROM hold WHERE hold.project_id = %(project)s AND hold.pool_id = pool.id)
    AND NOT EXISTS (SELECT FROM alert WHERE alert.project_id = %(project)s AND alert.pool_id = pool.id)
    AND NOT EXISTS (SELECT FROM webhook WHERE webhook.project_id = %(project)s AND pool.id = ANY (webhook.pool_ids))
    AND NOT EXISTS (
        SELECT FROM import_schedule AS schedule WHERE schedule.project_id = %(project)s
            AND schedule.pool = pool.name AND schedule.id IS DISTINCT FROM import.schedule_id
    )
    AND NOT EXISTS (
        SELECT FROM audit_entry
        WHERE audit_entry.project_id = %(project)s AND audit_entry.pool = pool.name AND at >= pool.created_at
            AND action NOT LIKE 'import.%%'
    )
"""  # noqa: S608  (made of constants)


def lock_pool(connection: Connection[TupleRow], import_id: uuid.UUID) -> bool:
    """Lock the pool of an import, where it may have to go; tell whether it may.

    The pool comes before the import, as for who deletes the pool.
    """
    return connection.execute(LOCK_POOL, {"id": import_id}).fetchone() is not None


def clear(connection: Connection[TupleRow], import_id: uuid.UUID) -> None:
    """Delete the bytes of an import that failed; where nothing of it is in the pool, its figures say so.

    A pool that was made by an import, this one or one that failed before it, goes where nothing came into it and
    nobody has done anything with it.
    """
    with connection.transaction():
        may_go = lock_pool(connection, import_id)
        chunks.forget(connection, import_id)
        if connection.execute(NO_FIGURES, {"id": import_id}).rowcount:
            connection.execute(FORGET_REJECTS, {"id": import_id})
            connection.execute(FORGET_IGNORED, {"id": import_id})
        if may_go:
            connection.execute(REMOVE_POOL, {"id": import_id})
