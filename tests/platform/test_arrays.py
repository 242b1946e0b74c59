import uuid

import pytest
from psycopg import DataError
from sqlalchemy import text

ECHO = text("SELECT CAST(:texts AS text[]) AS texts")


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [""],
        ["", ""],
        ["a", "b c", "{d}", ",", "NULL", "null"],
        ['"', '""', '","', "\\", '\\"', "'", "\\u0000", "\n\t"],
        ["ä", "\u2003", "\U0001f600"],
        ['{"code": "x\\"y"}', "[]"],
        ["a", None, '"'],
        [None, None],
    ],
)
async def test_a_list_of_texts_arrives_as_it_was_sent(connection, texts):
    assert (await connection.execute(ECHO, {"texts": texts})).scalar_one() == texts


async def test_a_list_of_other_things_arrives_too(connection):
    ids = [uuid.uuid4(), uuid.uuid4()]
    query = text(
        "SELECT CAST(:ids AS uuid[]) AS ids, CAST(:written AS uuid[]) AS written, CAST(:n AS int[]) AS n"
    )
    row = (await connection.execute(query, {"ids": ids, "written": [*map(str, ids)], "n": [1, 2]})).one()
    assert (row.ids, row.written, row.n) == (ids, ids, [1, 2])


async def test_a_nul_in_a_list_is_refused(connection):
    with pytest.raises(Exception, match="NUL") as refused:
        await connection.execute(ECHO, {"texts": ["a", "b\0c"]})
    assert isinstance(refused.value, DataError) or isinstance(refused.value.__cause__, DataError)
