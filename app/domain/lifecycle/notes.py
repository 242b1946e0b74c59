"""What is noted about single vouchers: what was done to them, why, and by which change of many."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.schema.inventory import IMPORTED_AT

NoteEvent = Literal["voided", "released", "reinstated", "expiry_set", "moved"]

VOIDED_AT = f"""(
    SELECT CASE WHEN note.event = 'voided' THEN note.at END FROM voucher_note AS note
    WHERE note.project_id = :project AND note.code = voucher.code AND note.event IN ('voided', 'reinstated')
        AND note.at >= {IMPORTED_AT}
    ORDER BY note.id DESC LIMIT 1
)"""  # noqa: S608  (made of constants)
"""SQL: when a `voucher` was made void, where that was not taken back; also of one that is redeemed."""

ADD = text("""
INSERT INTO voucher_note (project_id, code, event, reason, change_id, assignment_id, expires_at, from_pool)
SELECT :project, code, :event, :reason, CAST(:change_id AS uuid), assignment_id, CAST(:expires_at AS timestamptz),
    CAST(:from_pool AS text)
FROM unnest(CAST(:codes AS text[]), CAST(:assignment_ids AS uuid[])) AS noted (code, assignment_id)
""")


@dataclass(frozen=True, slots=True)
class Note:
    """What was done, and why."""

    event: NoteEvent
    reason: str | None = None
    change_id: uuid.UUID | None = None
    expires_at: datetime | None = None
    from_pool: str | None = None


async def add(
    connection: AsyncConnection, note: Note, vouchers: Sequence[tuple[str, uuid.UUID | None]]
) -> None:
    """Note the same of these vouchers, each with the assignment that it concerned, in the transaction that does it."""
    parameters = {
        "event": note.event,
        "reason": note.reason,
        "change_id": note.change_id,
        "expires_at": note.expires_at,
        "from_pool": note.from_pool,
        "codes": [code for code, _ in vouchers],
        "assignment_ids": [assignment_id for _, assignment_id in vouchers],
    }
    await connection.execute(ADD, parameters)
