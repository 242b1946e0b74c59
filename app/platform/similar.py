"""The names nearest to one that is not there, at the same cost however many names there are, off the event loop."""

import asyncio
import difflib
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

MOST_ALIKE, MOST_BESIDE = 20, 5
"""Most names that are fetched for each half that they share, and for each side on which they stand."""
MOST_COMPARED = 10
"""Most names that are compared letter by letter: that takes up to half a millisecond each."""

# By the operators of the indexes, which compare bytes whatever the language of the database. chr(1114111) is the last
# character that there is: what lies below it begins with the half.
_SIDES = """
    (
        SELECT name FROM {{table}} WHERE project_id = :project AND {key} ~>=~ CAST(:{side} AS text)
        ORDER BY {key} USING ~<~ LIMIT {beside}
    ) UNION (
        SELECT name FROM {{table}} WHERE project_id = :project AND {key} ~<~ CAST(:{side} AS text)
        ORDER BY {key} USING ~>~ LIMIT {beside}
    ) UNION (
        SELECT name FROM {{table}}
        WHERE project_id = :project AND {key} ~>=~ CAST(:{side}_half AS text)
            AND {key} ~<~ (CAST(:{side}_half AS text) || chr(1114111))
        ORDER BY {key} USING ~<~ LIMIT {alike}
    )
"""
_CANDIDATES = " UNION ".join(
    _SIDES.format(key=key, side=side, beside=MOST_BESIDE, alike=MOST_ALIKE)
    for side, key in {"ahead": "alike", "back": "alike_back"}.items()
)


async def similar_names(connection: AsyncConnection, table: str, name: str) -> list[str]:
    """Return up to three names in a table that look most like a name, the nearest first.

    One mistake leaves one half of a name as it was, so the candidates are names that begin or end with a half of it,
    upper and lower case being one, and those that stand beside it in either index.

    Args:
        connection: of any transaction.
        table: its name; it has the columns `name`, `alike` and `alike_back`, with `alike_indexes` (app/schema/base.py).
        name: what was asked for.
    """
    lower = name.lower()
    half = (len(lower) + 1) // 2
    values = {
        "ahead": lower,
        "ahead_half": lower[:half],
        "back": lower[::-1],
        "back_half": lower[::-1][:half],
    }
    rows = await connection.execute(text(_CANDIDATES.format(table=table)), values)
    return await asyncio.to_thread(_nearest, name, rows.scalars().all())


def _nearest(name: str, names: Sequence[str]) -> list[str]:
    """Compare with those first whose difference is shortest, once what both begin and end with is left out."""

    def difference(other: str) -> int:
        a, b = name.lower(), other.lower()
        begin = _alike(a, b)
        end = _alike(a[begin:][::-1], b[begin:][::-1])
        return max(len(a), len(b)) - begin - end

    return difflib.get_close_matches(name, sorted(names, key=difference)[:MOST_COMPARED])


def _alike(a: str, b: str) -> int:
    """Return with how many same characters two texts begin."""
    return next(
        (n for n, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1]), min(len(a), len(b))
    )
