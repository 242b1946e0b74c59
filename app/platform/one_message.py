"""A statement of a project as one message to the server: what sets the project, where another was set, goes before it.

The server takes the message for one transaction. The driver's cursors send one statement at a time: a project that
changes would cost a round trip. (docs/performance.md)
"""

from collections.abc import Sequence
from itertools import count

from psycopg import DatabaseError, OperationalError, errors, generators, pq
from psycopg.abc import Buffer, PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq.abc import PGconn, PGresult
from psycopg.rows import TupleRow

from app.platform.connections import OF_PROJECT, LimitedConnection

_ENTER = b"SELECT set_config('app.project', $1, false), set_config('application_name', $2, false)"
"""Sets the project of a session, until it is set to another."""
_numbers = count()


async def fetch_in(
    connection: LimitedConnection,
    project_id: int,
    statement: bytes,
    parameters: Sequence[object],
    first: bytes | None = None,
) -> list[TupleRow]:
    """Run a statement in a project and return its rows.

    Args:
        connection: is in no transaction; it keeps the project, and what is prepared.
        project_id: the project's.
        statement: with PostgreSQL's own `$1`.
        parameters: all of them, in their order.
        first: a statement that comes before it, and takes the project.

    Raises:
        psycopg.Error: as the driver's cursors do. Nothing was changed where the server has said why; where it has not,
            it may have been.
    """
    return await connection.wait(_exchange(connection, project_id, statement, parameters, first))


def _exchange(
    connection: LimitedConnection,
    project_id: int,
    statement: bytes,
    parameters: Sequence[object],
    first: bytes | None,
) -> PQGen[list[TupleRow]]:
    values = Transformer.from_context(connection)
    dumped = values.dump_sequence(parameters, [PyFormat.AUTO] * len(parameters))
    before, connection.project = connection.project, None  # whatever becomes of the statement
    known = dict(connection.prepared)
    connection.pgconn.enter_pipeline_mode()
    project = b"%d" % project_id
    if before != project_id:
        _send(connection, _ENTER, (), [project, OF_PROJECT.encode() + project], ())
    if first is not None:
        _send(connection, first, (), [project], ())
    _send(connection, statement, values.types or (), dumped, values.formats or ())
    try:
        result = yield from _last_result(connection.pgconn)
    except DatabaseError:
        connection.prepared = known
        raise
    connection.project = project_id
    values.set_pgresult(result)
    return values.load_rows(0, result.ntuples, tuple)


def _send(
    connection: LimitedConnection,
    statement: bytes,
    types: Sequence[int],
    values: Sequence[Buffer | None],
    formats: Sequence[pq.Format],
) -> None:
    """Send a statement, after what prepares it where that was not done."""
    name = connection.prepared.get((statement, types))
    if name is None:
        name = connection.prepared[statement, types] = b"%d" % next(_numbers)
        connection.pgconn.send_prepare(name, statement, types)
    connection.pgconn.send_query_prepared(name, values, formats or None, pq.Format.BINARY)


def _last_result(pgconn: PGconn) -> PQGen[PGresult]:
    """End the message and return what its last statement gave.

    Raises:
        psycopg.Error: a statement failed.
    """
    pgconn.pipeline_sync()
    yield from generators.send(pgconn)
    results: list[PGresult] = []
    try:
        while True:
            result = yield from generators.fetch(pgconn)
            if result is None:  # one of them has ended; and where the connection is lost, all have
                if pgconn.status == pq.ConnStatus.BAD:
                    raise OperationalError("the connection is lost")
            elif result.status == pq.ExecStatus.PIPELINE_SYNC:
                break
            else:
                results.append(result)
    except DatabaseError:
        _check(results)  # before it closes a connection, a server says why
        raise
    pgconn.exit_pipeline_mode()
    _check(results)
    return results[-1]


def _check(results: Sequence[PGresult]) -> None:
    for result in results:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise errors.error_from_result(result)
