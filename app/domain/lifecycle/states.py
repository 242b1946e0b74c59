"""The life of a voucher: every transition there is. `docs/state-machine.md` draws it.

What a voucher of each state must and must not have, `app/schema/inventory.py` says to the database (VOUCHER_COLUMNS).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.lifecycle.notes import VOIDED_AT
from app.schema.base import VoucherStatus as S


@dataclass(frozen=True, slots=True)
class Transition:
    """A way from some states into another one."""

    sources: tuple[S, ...]
    target: S
    sets: Mapping[str, str]
    """What changes besides the status: SQL by column."""
    given_besides: str = "0"
    """SQL over the vouchers that go this way: how much they add to `stock.given_besides`."""


OWN_EXPIRY = {
    "expires_at": "CASE WHEN voucher.own_expires_at IS NULL THEN voucher.expires_at"
    " ELSE nullif(voucher.own_expires_at, 'infinity') END",
    "own_expires_at": "NULL",
}
"""What gives a voucher its own expiry back, which its pool had set earlier for who had it."""

ASSIGN = Transition(
    (S.AVAILABLE,), S.ASSIGNED, {"assigned_at": "(SELECT at FROM moment)", "assignment_id": "given.id"}
)
RESERVE = Transition((S.AVAILABLE,), S.RESERVED, {"assignment_id": "given.id"})
CONFIRM = Transition((S.RESERVED,), S.ASSIGNED, {"assigned_at": "now()"})
RELEASE = Transition(
    (S.RESERVED, S.ASSIGNED),
    S.AVAILABLE,
    {"assigned_at": "NULL", "assignment_id": "NULL", **OWN_EXPIRY},
)
LAPSE = Transition((S.RESERVED,), S.AVAILABLE, {"assignment_id": "NULL", **OWN_EXPIRY})
# A code of which a use is known, though one that came too late, is never drawn again: it ends with its lease.
LAPSE_USED = Transition(
    (S.RESERVED,),
    S.EXPIRED,
    {
        "assignment_id": "NULL",
        "expired_at": "now()",
        "expires_at": "coalesce(voucher.expires_at, now())",
        "own_expires_at": "NULL",
    },
)
REDEEM = Transition(
    (S.AVAILABLE, S.RESERVED, S.ASSIGNED, S.EXPIRED, S.VOID),
    S.REDEEMED,
    {
        "redeemed_at": "chosen.at",
        "expired_at": "NULL",
        "voided_at": "NULL",
        "assigned_at": "CASE WHEN voucher.assignment_id IS NOT NULL"
        " THEN coalesce(voucher.assigned_at, now()) END",
    },
    "- count(*) FILTER (WHERE assignment_id IS NULL OR (status = 'void' AND assigned_at IS NOT NULL))",
)
EXPIRE = Transition((S.AVAILABLE,), S.EXPIRED, {"expired_at": "now()"})
CANCEL = Transition((S.REDEEMED,), S.ASSIGNED, {"redeemed_at": "NULL"})
# Its use was before it was taken out, and was heard of later: without that use it is taken out as before.
CANCEL_VOIDED = Transition(
    (S.REDEEMED,),
    S.VOID,
    {"redeemed_at": "NULL", "voided_at": VOIDED_AT},
    "count(*) FILTER (WHERE assigned_at IS NOT NULL)",
)
VOID = Transition(
    (S.AVAILABLE, S.RESERVED, S.ASSIGNED, S.EXPIRED),
    S.VOID,
    {"voided_at": "now()", "expired_at": "NULL"},
    "count(*) FILTER (WHERE assigned_at IS NOT NULL)",
)
# Back to what it was before it was taken out; what became of time meanwhile (a lease, an expiry) is judged anew.
REINSTATE_AVAILABLE = Transition((S.VOID,), S.AVAILABLE, {"voided_at": "NULL"})
REINSTATE_EXPIRED = Transition((S.VOID,), S.EXPIRED, {"voided_at": "NULL", "expired_at": "now()"})
REINSTATE_RESERVED = Transition((S.VOID,), S.RESERVED, {"voided_at": "NULL"})
REINSTATE_ASSIGNED = Transition(
    (S.VOID,), S.ASSIGNED, {"voided_at": "NULL"}, "- count(*) FILTER (WHERE assigned_at IS NOT NULL)"
)
EXTEND = Transition(
    (S.EXPIRED,), S.AVAILABLE, {"expired_at": "NULL", "expires_at": "CAST(:expires_at AS timestamptz)"}
)

TRANSITIONS = {
    "assign": ASSIGN,
    "reserve": RESERVE,
    "confirm": CONFIRM,
    "release": RELEASE,
    "lapse": LAPSE,
    "lapse_used": LAPSE_USED,
    "redeem": REDEEM,
    "cancel": CANCEL,
    "cancel_voided": CANCEL_VOIDED,
    "expire": EXPIRE,
    "void": VOID,
    "reinstate": REINSTATE_AVAILABLE,
    "reinstate_expired": REINSTATE_EXPIRED,
    "reinstate_reserved": REINSTATE_RESERVED,
    "reinstate_assigned": REINSTATE_ASSIGNED,
    "extend": EXTEND,
}
"""All of them. What is not here does not happen."""
