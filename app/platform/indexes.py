"""Indexes that are made anew beside a table's work: for migrations.

Each step finds out what is done already, so that an upgrade that was interrupted goes on where it was. A large table's
new index is built concurrently, while the table is read and written; then it takes the old one's place in a moment.
"""

from collections.abc import Callable

from alembic import op
from sqlalchemy import text

LARGE = 64 * 2**20
"""Bytes of a table from which on its indexes are built concurrently: below, that takes longer than what it spares."""

_INDEX = text(
    "SELECT pg_get_indexdef(indexrelid) AS definition, indrelid::regclass::text AS its_table, indisvalid, indisprimary,"
    " EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u')) AS is_constraint"
    " FROM pg_index WHERE indexrelid = to_regclass(:name)"
)


def lead_by_project(name: str) -> None:
    """Let `project_id` lead an index or key."""
    _replace(name, lambda old: old.replace("USING btree (", "USING btree (project_id, ", 1), is_done=_is_led)


def lead_no_more(name: str) -> None:
    """Take `project_id` out of an index or key that it leads."""
    _replace(name, lambda old: old.replace("(project_id, ", "(", 1), is_done=lambda old: not _is_led(old))


def is_large(table: str) -> bool:
    """Return whether a table is worth the detours."""
    size = op.get_bind().scalar(text("SELECT pg_table_size(to_regclass(:name))"), {"name": table})
    return bool(size and size >= LARGE)


def _is_led(definition: str) -> bool:
    return "USING btree (project_id, " in definition


def _replace(name: str, change: Callable[[str], str], *, is_done: Callable[[str], bool]) -> None:
    new = f"{name}_new"
    old = op.get_bind().execute(_INDEX, {"name": name}).one_or_none()
    unfinished = op.get_bind().execute(_INDEX, {"name": new}).one_or_none()
    if old is None:  # interrupted between the two last steps of an index
        op.execute(f"ALTER INDEX {new} RENAME TO {name}")
        return
    if is_done(old.definition):
        return
    large = is_large(old.its_table)
    if unfinished is not None and not unfinished.indisvalid:
        op.execute(f"DROP INDEX {new}")
    if unfinished is None or not unfinished.indisvalid:
        definition = change(old.definition).replace(f"INDEX {name} ON", f"INDEX {new} ON", 1)
        _build(definition, concurrently=large)
    if old.is_constraint:
        kind = "PRIMARY KEY" if old.indisprimary else "UNIQUE"
        op.execute(
            f"ALTER TABLE {old.its_table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {kind} USING INDEX {new}"
        )
    else:
        op.execute(f"DROP INDEX {name}")
        op.execute(f"ALTER INDEX {new} RENAME TO {name}")


def _build(definition: str, *, concurrently: bool) -> None:
    if not concurrently:
        op.execute(definition)
        return
    with op.get_context().autocommit_block():
        op.execute(definition.replace("INDEX ", "INDEX CONCURRENTLY ", 1))
