"""A plan that is kept suits every project, whichever it was made in: nothing is read by the project alone."""

import re

import psycopg
import pytest

from app.domain.customers.events import ADD_EVENTS, RECENT, WERE_ERASED
from app.domain.imports.merging.leftovers import HAS_NONE
from app.domain.lifecycle import statements
from app.domain.rendering.queries import SEEN_OR_ERASED
from app.domain.tracking import plain
from app.platform.connections import SESSION
from app.platform.database_url import conninfo
from app.schema.inventory import ANY_STATE

MANY, FEW = 1, 2
"""A project with many rows, and one with few."""
FILL = """
INSERT INTO pool (project_id, name) VALUES (1, 'p'), (2, 'p');
INSERT INTO voucher (project_id, code, pool_id, draw_key, status, assignment_id, assigned_at)
SELECT project_id, n::text, id, n, 'assigned', gen_random_uuid(), now()
FROM pool, generate_series(1, CASE project_id WHEN 1 THEN 2000 ELSE 3 END) AS n;
INSERT INTO assignment (project_id, id, pool_id, code, customer_id)
SELECT project_id, assignment_id, pool_id, code, code FROM voucher;
INSERT INTO event (project_id, id, customer_id, event_type, properties, timestamp)
SELECT project_id, code, code, 'purchase', '{}', now() FROM voucher;
INSERT INTO redemption (project_id, code, outcome, redeemed_at, event_id, property)
SELECT project_id, code, 'not_assigned', now(), code, 'code' FROM voucher;
INSERT INTO erased_event (project_id, mark) SELECT project_id, sha256(convert_to(code, 'UTF8')) FROM voucher;
INSERT INTO tracked_id (project_id, name, value, customer_id) SELECT project_id, 'cookie', code, code FROM voucher;
INSERT INTO customer_alias (project_id, id, customer_id) SELECT project_id, code, code FROM voucher;
ANALYZE pool, voucher, assignment, event, redemption, erased_event, tracked_id, customer_alias
"""
LOOK_UPS = [
    "SELECT FROM assignment WHERE id = $1::uuid",
    "SELECT FROM assignment WHERE customer_id = $1::text",
    "SELECT FROM unnest($1::uuid[]) AS asked (id) JOIN assignment ON assignment.id = asked.id",
    "SELECT FROM voucher WHERE code = ANY ($1::text[])",
    "SELECT FROM unnest($1::text[]) AS asked (code) JOIN voucher ON voucher.code = asked.code",
    "SELECT assignment.* FROM voucher LEFT JOIN assignment ON assignment.id = assignment_id WHERE voucher.code = $1",
    "SELECT FROM event WHERE id = $1::text",
    "SELECT FROM redemption WHERE code = $1::text",
    statements.numbered(statements.claim(statements.Ids.SINGLE, holds=False))[0].decode(),
    statements.numbered(statements.claim(statements.Ids.SINGLE, holds=True))[0].decode(),
    *(
        statements.numbered(statement)[0].decode()
        for statement in (
            plain.STORE,
            plain.STORE_OF_TRACKED,
            ADD_EVENTS,
            RECENT,
            WERE_ERASED,
            SEEN_OR_ERASED,
        )
    ),
]
PARAMETERS = "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = %s"
LARGE = {"voucher", "assignment", "event", "redemption", "erased_event", "tracked_id"}


@pytest.fixture
def small(database_url):
    """A session of the service in the small project."""
    with psycopg.connect(conninfo(database_url), autocommit=True) as owner:
        owner.execute(FILL)
    settings = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
    options = f"{settings} -c role=vouchers_service -c app.project={FEW}"
    with psycopg.connect(conninfo(database_url), options=options, autocommit=True) as connection:
        yield connection


def read(node):
    """Yield what is read of large tables, and by which conditions."""
    if node.get("Relation Name") in LARGE and node["Node Type"] != "ModifyTable":
        yield (
            node["Relation Name"],
            node.get("Index Cond") or node.get("Recheck Cond") or node.get("TID Cond", ""),
        )
    for below in node.get("Plans", ()):
        yield from read(below)


def test_a_plan_made_in_a_small_project_suits_a_large_one(small):
    for number, statement in enumerate(LOOK_UPS):
        small.execute(f"PREPARE p{number} AS {statement}")
        (n,) = small.execute(PARAMETERS, (f"p{number}",)).fetchone()
        explain = f"EXPLAIN (FORMAT json) EXECUTE p{number} ({', '.join(['NULL'] * n)})"
        ((plan,),) = small.execute(explain).fetchone()
        conditions = list(read(plan["Plan"]))
        assert conditions, statement
        for table, condition in conditions:
            assert condition.count("=") + condition.count(">") > 1 or "ctid" in condition, (
                table,
                condition,
                statement,
            )


OF_POOLS = {
    f"SELECT FROM voucher WHERE pool_id = $1 AND {ANY_STATE}": ("draw", "assigned", "ended"),
    f"DELETE FROM voucher WHERE pool_id = $1 AND {ANY_STATE}": ("draw", "assigned", "ended"),
    "SELECT FROM voucher WHERE pool_id = $1 AND status = 'available' ORDER BY draw_key LIMIT 1": ("draw",),
    "SELECT FROM voucher WHERE pool_id = $1 AND status = 'assigned'": ("assigned",),
    "SELECT FROM voucher WHERE pool_id = $1 AND status = 'void' ORDER BY draw_key": ("ended",),
    f"SELECT FROM pool WHERE id = $1 AND {HAS_NONE.replace('%(project)s', '1')}": (
        "draw",
        "assigned",
        "ended",
    ),
}


@pytest.mark.parametrize("statement", OF_POOLS)
def test_vouchers_of_a_pool_are_found_by_the_indexes_of_their_states(small, statement):
    small.execute(f"PREPARE of_pool AS {statement}")
    plan = "\n".join(row[0] for row in small.execute("EXPLAIN EXECUTE of_pool (1)"))
    assert set(re.findall(r"voucher_(\w+)_idx", plan)) == set(OF_POOLS[statement]), plan
    assert "Seq Scan on voucher" not in plan
