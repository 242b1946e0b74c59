"""Indexes that are made anew beside a table's work: for migrations.

Each step finds out what is done already, so that an upgrade that was interrupted goes on where it was. A large table's
new index is built concurrently, while the table is read and written; then it takes the old one's place in a moment.
"""

from collections.abc import Callable, Sequence

from alembic import op
from sqlalchemy import Row, text

LARGE = 64 * 2**20
"""Bytes of a table from which on its indexes are built concurrently: below, that takes longer than what it spares."""

_INDEXES = text("""
SELECT name, pg_get_indexdef(indexrelid) AS definition, indrelid::regclass::text AS its_table, indisvalid, indisprimary,
    pg_table_size(indrelid) AS size,
    EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u')) AS is_constraint
FROM unnest(CAST(:names AS text[])) AS name JOIN pg_index ON indexrelid = to_regclass(name)
""")
Found = Row[tuple[str, str, str, bool, bool, int, bool]]


def lead_by_project(names: Sequence[str]) -> None:
    """Let `project_id` lead indexes and keys."""
    _replace(names, lambda old: old.replace("USING btree (", "USING btree (project_id, ", 1), is_done=_is_led)


def lead_no_more(names: Sequence[str]) -> None:
    """Take `project_id` out of indexes and keys that it leads."""
    _replace(names, lambda old: old.replace("(project_id, ", "(", 1), is_done=lambda old: not _is_led(old))


def reword(name: str, there: str, instead: str) -> None:
    """Make an index anew with other words in its definition, both as PostgreSQL writes them."""
    _replace([name], lambda old: old.replace(there, instead, 1), is_done=lambda old: there not in old)


def build(name: str, on: str) -> None:
    """Build an index that is not there, or whose building broke off."""
    found = op.get_bind().execute(_INDEXES, {"names": [name]}).one_or_none()
    if found is None or not found.indisvalid:
        with op.get_context().autocommit_block():
            op.get_bind().exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.get_bind().exec_driver_sql(f"CREATE INDEX CONCURRENTLY {name} ON {on}")


def _is_led(definition: str) -> bool:
    return "USING btree (project_id, " in definition


def _replace(names: Sequence[str], change: Callable[[str], str], *, is_done: Callable[[str], bool]) -> None:
    both = [*names, *(f"{name}_new" for name in names)]
    there: dict[str, Found] = {row.name: row for row in op.get_bind().execute(_INDEXES, {"names": both})}
    at_once: list[str] = []
    large: list[tuple[str, str]] = []
    for name in names:
        old, unfinished = there.get(name), there.get(f"{name}_new")
        if old is None:  # interrupted between the two last steps of an index
            at_once.append(f"ALTER INDEX {name}_new RENAME TO {name}")
            continue
        if is_done(old.definition):
            continue
        build = []
        if unfinished is not None and not unfinished.indisvalid:
            at_once.append(f"DROP INDEX {name}_new")
        if unfinished is None or not unfinished.indisvalid:
            build = [change(old.definition).replace(f"INDEX {name} ON", f"INDEX {name}_new ON", 1)]
        if old.size < LARGE:
            at_once += [*build, _switch(name, old)]
        else:
            large += [(statement, "") for statement in build] + [("", _switch(name, old))]
    if at_once:
        op.get_bind().exec_driver_sql(";".join(at_once))
    for concurrently, switch in large:
        if switch:
            op.get_bind().exec_driver_sql(switch)
        else:
            with op.get_context().autocommit_block():
                op.get_bind().exec_driver_sql(concurrently.replace("INDEX ", "INDEX CONCURRENTLY ", 1))


def _switch(name: str, old: Found) -> str:
    if not old.is_constraint:
        return f"DROP INDEX {name}; ALTER INDEX {name}_new RENAME TO {name}"
    kind = "PRIMARY KEY" if old.indisprimary else "UNIQUE"
    return f"ALTER TABLE {old.its_table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {kind} USING INDEX {name}_new"
