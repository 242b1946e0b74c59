"""What the service is measured against. Y1, Y2 and Y4 run on the service's own PostgreSQL."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import redis
from psycopg.types.numeric import Int4
from sqlalchemy import create_engine, insert

from app.domain.lifecycle import claim
from app.domain.lifecycle.requests import AssignmentRequest
from app.platform.connections import SERVER_OPTIONS
from app.platform.database_url import conninfo
from app.platform.postgres.server import find_programs
from app.platform.projects import DEFAULT
from benchmarks import tutorial
from tests.service import Service

PGBENCH = find_programs() / "pgbench"
BODY = '{"customer_id": "CUSTOMER"}'

# The claim of the ledger design for one code: draw from a random place, update the inventory, write the ledger.
SINGLE_CLAIM = """
\\set half random(-2000000000000000000, 2000000000000000000)
\\set customer random(1, 10000000)
WITH drawn AS (
    SELECT ctid AS place FROM voucher
    WHERE pool_id = {pool_id} AND status = 'available' AND draw_key > 4 * :half::bigint
    ORDER BY draw_key LIMIT 1 FOR UPDATE SKIP LOCKED
), marked AS (
    UPDATE voucher SET status = 'assigned', assigned_at = now(), assignment_id = gen_random_uuid()
    FROM drawn WHERE voucher.ctid = drawn.place RETURNING voucher.code, voucher.assignment_id
)
INSERT INTO assignment (id, pool_id, code, customer_id)
SELECT assignment_id, {pool_id}, code, 'c' || :customer::bigint FROM marked;
"""
COUNT_AGAIN = """
UPDATE stock SET available = available - given.n, assigned = assigned + given.n
FROM (SELECT count(*) AS n FROM voucher WHERE pool_id = {pool_id} AND status = 'assigned') AS given
WHERE pool_id = {pool_id} AND slot = 0
"""
"""Y1 keeps no counts; afterwards they are put right, so that the books agree."""


def y1(service: Service, pool_id: int, *, clients: int, seconds: int) -> float:
    """Single claims per second by pgbench, prepared, straight into PostgreSQL."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(SINGLE_CLAIM.format(pool_id=pool_id))
        script.flush()
        command = [str(PGBENCH), "-h", str(service.home / "run"), "-U", "vouchers", "-n", "-M", "prepared"]
        command += ["-c", str(clients), "-j", "2", "-T", str(seconds), "-f", script.name, "vouchers"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    if found is None:
        raise RuntimeError(done.stdout + done.stderr)
    return float(found[1])


def put_counts_right(service: Service, pool_id: int) -> None:
    """Count what Y1 drew from a pool that only Y1 draws from."""
    with psycopg.connect(conninfo(service.database_url)) as connection:
        connection.execute(COUNT_AGAIN.format(pool_id=pool_id))


def y4(service: Service, pool: str, *, seconds: float, size: int = 1000) -> float:
    """Codes per second by the batch statement on one psycopg connection, walking on from batch to batch."""
    with psycopg.connect(
        conninfo(service.database_url), autocommit=True, options=SERVER_OPTIONS
    ) as connection:
        given, cursor = 0, -(2**63)
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            requests = [AssignmentRequest(uuid.uuid4(), f"c-{given + n}", None, None) for n in range(size)]
            statement, others = claim.as_sent(pool, requests, cursor)
            parameters = [Int4(DEFAULT), *others]
            rows = psycopg.RawCursor(connection).execute(statement, parameters, prepare=True).fetchall()
            keys = [row[1] for row in rows]
            cursor = max([key for key in keys if key <= cursor] or keys)
            given += len(rows)
        return given / (time.perf_counter() - started)


@contextmanager
def y2(service: Service, codes: int) -> Iterator[str]:
    """Give the URL of the tutorial service, on two processes."""
    engine = create_engine(service.database_url)
    tutorial_table = tutorial.Base.metadata
    with engine.begin() as connection:
        tutorial_table.drop_all(connection)
        tutorial_table.create_all(connection)
        rows = [{"code": f"t-{n}", "status": "available"} for n in range(codes)]
        connection.execute(insert(tutorial.Voucher), rows)
    with _uvicorn("benchmarks.tutorial:app", workers=2, DATABASE_URL=service.database_url) as url:
        yield f"{url}/assign"
    with engine.begin() as connection:
        tutorial_table.drop_all(connection)
    engine.dispose()


@contextmanager
def y3(codes: int) -> Iterator[str | None]:
    """Give the URL of the Redis service, on one process; None where there is no Redis."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="vp-redis-"))
    path = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--dir", str(folder)]
    options += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(unix_socket_path=str(path))
        _until(lambda: path.exists() and client.ping())
        for start in range(0, codes, 10_000):
            client.sadd("pool", *(f"r-{n}" for n in range(start, min(start + 10_000, codes))))
        with _uvicorn("benchmarks.redis_service:app", workers=1, REDIS_SOCKET=str(path)) as url:
            yield f"{url}/assign"
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)


@contextmanager
def _uvicorn(application: str, workers: int, **environment: str) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", application, "--port", str(port), "--workers", str(workers)]
    process = subprocess.Popen(
        [*command, "--no-access-log", "--log-level", "warning"], env=os.environ | environment
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _until(lambda: httpx.get(f"{url}/openapi.json").is_success)
        yield url
    finally:
        process.terminate()
        process.wait()


def _until(true: object, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if true():  # type: ignore[operator]
                return
        except (httpx.TransportError, redis.ConnectionError):
            pass
        time.sleep(0.05)
    raise TimeoutError
