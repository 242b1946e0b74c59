"""SQL that makes a message: rows of the ledger and of the changes as events, in one order, as JSON.

The database writes the JSON. A thousand events a message at the speed of assigns are too many to become objects here:
as rows and dicts they cost three times as much in the worker, beside assigns that need the processors.
"""

from sqlalchemy import text

from app.schema.ledger import IS_TEST

# As the API writes times.
_TIME = """'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""


def _time(column: str) -> str:
    return f"replace(to_char({column} AT TIME ZONE 'UTC', {_TIME}), '.000000', '')"


def _voucher(columns: str) -> str:
    """Return SQL of what an event says of a voucher: a JSON object as text."""
    return f"""row_to_json((SELECT said FROM (
        SELECT pool.name AS pool, {columns}, {_time("voucher.expires_at")} AS expires_at
    ) AS said))::text"""  # noqa: S608  (made of constants)


def _event(kind: str, type_: str, at: str, data: str) -> str:
    """Return SQL of an event, as the schema `WebhookEvent` has it."""
    return (
        f"""'{{"id":"{kind}-' || {kind}.id || '","type":"' || {type_} || '","timestamp":"' || {_time(at)}"""
        f""" || '","data":' || {data} || '}}'"""
    )


EXPIRY = "SELECT expires_at FROM voucher WHERE project_id = :project AND voucher.code = {}.code OFFSET 0"
PERSON = "customer_id, campaign_id, message_id"

_GIVEN = _voucher(f"code, assignment.id AS assignment_id, {PERSON}, {IS_TEST} AS test")
# What is only reserved is told once it is confirmed, what was given elsewhere by its change: its time lies where others
# were told, or are about to be. Pool by pool, as the index goes.
GIVEN = f"""
SELECT assignment.assigned_at AS at, false AS is_change, assignment.id AS ledger_id, NULL::bigint AS change_id,
    {_event("assignment", "'voucher.assigned'", "assigned_at", _GIVEN)} AS event
FROM (
    SELECT found.* FROM pool, LATERAL (
        SELECT * FROM assignment
        WHERE assignment.project_id = :project AND assignment.pool_id = pool.id
            AND assigned_at >= :ledger_at AND assigned_at <= :ledger_end_at
            AND (assigned_at, assignment.id) > (:ledger_at, CAST(:ledger_id AS uuid))
            AND (assigned_at, assignment.id) <= (:ledger_end_at, CAST(:ledger_end_id AS uuid))
            AND lease_seconds IS NULL AND given_elsewhere IS NULL
        ORDER BY assigned_at, assignment.id LIMIT :most
    ) AS found
    WHERE pool.project_id = :project AND 'voucher.assigned' = ANY (CAST(:events AS text[]))
        AND (CAST(:pool_ids AS bigint[]) IS NULL OR pool.id = ANY (CAST(:pool_ids AS bigint[])))
    ORDER BY assigned_at, found.id LIMIT :most
) AS assignment JOIN pool ON pool.project_id = :project AND pool.id = assignment.pool_id
LEFT JOIN LATERAL ({EXPIRY.format("assignment")}) AS voucher ON true
"""  # noqa: S608  (made of constants)

TYPE = """CASE
    WHEN about IS NOT NULL THEN about ->> 'type'
    WHEN before = after THEN 'voucher.expiry_changed'
    WHEN before = 'redeemed' AND after = 'assigned' THEN 'voucher.redemption_cancelled'
    WHEN after = 'redeemed' THEN 'voucher.redeemed'
    WHEN after = 'void' THEN 'voucher.voided'
    WHEN before = 'void' THEN 'voucher.reinstated'
    WHEN after IN ('available', 'expired') AND before IN ('reserved', 'assigned') THEN 'voucher.released'
    WHEN after = 'assigned' AND before IN ('reserved', 'available') THEN 'voucher.assigned'
END"""
_OF_VOUCHER = _voucher(f"change.code, change.assignment_id, {PERSON}, coalesce(given.test, false) AS test")
# What only some events say is put before the brace that ends the object.
_SAID = f"""CASE WHEN about IS NOT NULL THEN (jsonb_build_object('pool', pool.name) || (about - 'type'))::text
    ELSE left({_OF_VOUCHER}, -1) || CASE type
        WHEN 'voucher.redeemed' THEN ',"redeemed_at":' || coalesce('"' || {_time("used_at")} || '"', 'null')
        WHEN 'voucher.reinstated' THEN ',"status":"' || after || '"'
        WHEN 'voucher.released' THEN ',"lapsed":' || coalesce(given.lapsed, false)
        ELSE ''
    END || '}}'
END"""
# Of a pool that has gone only what names it is told.
CHANGED = f"""
SELECT changed_at AS at, true AS is_change, NULL::uuid AS ledger_id, change.id AS change_id,
    {_event("change", "type", "changed_at", _SAID)} AS event
FROM (
    SELECT *, {TYPE} AS type FROM pool_change
    WHERE project_id = :project AND changed_at >= :change_at AND changed_at <= :change_end_at
        AND (changed_at, id) > (:change_at, CAST(:change_id AS bigint))
        AND (changed_at, id) <= (:change_end_at, CAST(:change_end_id AS bigint))
        AND {TYPE} = ANY (CAST(:events AS text[]))
        AND (CAST(:pool_ids AS bigint[]) IS NULL OR pool_id = ANY (CAST(:pool_ids AS bigint[])))
    ORDER BY changed_at, id LIMIT :most
) AS change LEFT JOIN pool ON pool.project_id = :project AND pool.id = change.pool_id LEFT JOIN LATERAL (
    SELECT {PERSON}, test, lapsed FROM assignment
    WHERE project_id = :project AND assignment.id = change.assignment_id OFFSET 0
) AS given ON true LEFT JOIN LATERAL ({EXPIRY.format("change")}) AS voucher ON true
WHERE coalesce(pool.name, about ->> 'pool') IS NOT NULL
"""  # noqa: S608  (made of constants)

# At one time what was handed out comes first.
_MESSAGE = f"""
WITH told AS MATERIALIZED (
    SELECT * FROM ({GIVEN} UNION ALL {CHANGED}) AS each
    ORDER BY at, is_change, ledger_id, change_id LIMIT :most
), given AS (
    SELECT at, ledger_id FROM told WHERE NOT is_change ORDER BY at DESC, ledger_id DESC LIMIT 1
), changed AS (
    SELECT at, change_id FROM told WHERE is_change ORDER BY at DESC, change_id DESC LIMIT 1
), message AS MATERIALIZED (
    SELECT count(*) AS events, min(at) AS first_at, max(at) AS last_at,
        coalesce((SELECT at FROM given), :ledger_at) AS ledger_at,
        coalesce((SELECT ledger_id FROM given), CAST(:ledger_id AS uuid)) AS ledger_id,
        coalesce((SELECT at FROM changed), :change_at) AS change_at,
        coalesce((SELECT change_id FROM changed), CAST(:change_id AS bigint)) AS change_id,
        coalesce(string_agg(event, ',' ORDER BY at, is_change, ledger_id, change_id), '') AS body
    FROM told
)"""  # noqa: S608  (made of constants)

READ = text(f"{_MESSAGE} SELECT * FROM message")  # noqa: S608  (made of constants)
"""What comes next for a webhook, as one message; `body` is its events as JSON, without the brackets."""

_PLACED = "events, first_at, last_at, ledger_at, ledger_id, change_at, change_id"
_PLACED_IN_MESSAGE = ", ".join(f"message.{column}" for column in _PLACED.split(", "))
BEGUN = text(f"""
{_MESSAGE}, ours AS MATERIALIZED (
    SELECT id, secret, previous_secrets FROM webhook
    WHERE project_id = :project AND id = :webhook_id AND lease = :lease FOR NO KEY UPDATE
), begun AS (
    INSERT INTO webhook_delivery (project_id, webhook_id, {_PLACED})
    SELECT :project, id, {_PLACED_IN_MESSAGE} FROM message, ours WHERE message.events > 0
    RETURNING id
)
SELECT message.*, begun.id AS delivery_id, secret, previous_secrets FROM message, begun, ours
""")  # noqa: S608  (made of constants)
"""The same, and the message put on its way, with the keys that hold now.

No row where there is nothing to tell, or another worker tells it, or it was changed meanwhile: until this is committed
it is not.
"""

REACH = text("""
SELECT changed_at FROM pool_change
WHERE project_id = :project AND (changed_at, id) > (:change_at, CAST(:change_id AS bigint)) AND changed_at < :until
ORDER BY changed_at, id OFFSET :most LIMIT 1
""")
"""When the change happened that is so many behind a place."""

ARRIVED = text("""
WITH ours AS (
    UPDATE webhook SET leased_until = now() + make_interval(secs => :seconds), failures = 0, failing_since = NULL,
        next_try_at = now(), ledger_at = :ledger_at, ledger_id = :ledger_id, change_at = :change_at,
        change_id = :change_id
    WHERE project_id = :project AND id = :webhook_id AND lease = :lease
    RETURNING id
), noted AS (
    UPDATE webhook_delivery SET status = 'delivered', attempts = attempts + 1, response_status = :status,
        error = NULL, attempted_at = now(), delivered_at = now()
    FROM ours
    WHERE webhook_delivery.project_id = :project AND webhook_delivery.id = :delivery_id AND status = 'pending'
)
SELECT count(*) FROM ours
""")
"""The place of a webhook moves over a message that has arrived, unless another worker is at the webhook."""
