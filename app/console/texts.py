"""Texts of the console that more than one page says, and what is said when something was done."""

from app.domain.access.scopes import Scope

P, R, A, E, ADMIN = Scope.POOLS, Scope.READ, Scope.ASSIGN, Scope.EVENTS, Scope.ADMIN
OPERATOR = Scope.OPERATOR

MENU = (
    ("Data & Assets", (
        ("pools", "Vouchers", (P, R)),
        ("imports", "Imports", (P, R)),
        ("schedules", "Schedules", (P, R)),
        ("changes", "Bulk changes", (P, R)),
        ("customers", "Customers", (E,)),
        ("aggregates", "Aggregates", (E,)),
    )),
    ("Campaigns", (
        ("personalization", "Personalization", (A,)),
        ("redemptions", "Redemptions", (P, E, R)),
        ("alerts", "Alerts", (P,)),
        ("webhooks", "Webhooks", (P,)),
    )),
    ("Project settings", (
        ("mapping", "Mapping", (P, E, R)),
        ("keys", "API keys", (ADMIN,)),
        ("audit", "Audit", (ADMIN,)),
    )),
    ("Service", (
        ("projects", "Projects", (OPERATOR,)),
    )),
)  # fmt: skip
"""The navigation: titles, then pages with their names and the scopes that see them."""

DONE = {
    "pool-made": "The pool is made. Import its codes next.",
    "pool-changed": "The pool is changed.",
    "pool-deleted": "The pool is deleted.",
    "voided": "The code is void.",
    "change-begun": "The change has begun. It goes on by itself.",
    "change-cancelled": "The change has ended. What it changed so far stays.",
    "released": "The code is available again.",
    "redeemed": "The code is redeemed.",
    "hold-made": "The codes are held.",
    "hold-changed": "The hold is changed.",
    "hold-deleted": "The hold is deleted.",
    "import-begun": "The import has begun.",
    "undone": "The codes that were still available are taken back.",
    "undone-kept": "Codes that were still available are taken back, but for those that campaigns hold.",
    "undone-paused": "The codes that were still available are taken back. Its schedule is paused.",
    "undone-kept-paused": "Codes that were still available are taken back, but for those that campaigns hold."
    " Its schedule is paused.",
    "cancelled": "The import is cancelled. What it brought before stays, and can be undone.",
    "accepted": "The values that were set aside are imported.",
    "accepted-but-given": "What was set aside is imported, but for codes that were given elsewhere.",
    "schedule-made": "The import is scheduled.",
    "schedule-changed": "The schedule is changed.",
    "schedule-deleted": "The schedule is deleted.",
    "mapping-changed": "The mapping is saved, and is being applied to the events that are there.",
    "replayed": "The mapping was applied to the events that are there.",
    "customer-changed": "The customer is changed.",
    "customers-merged": "The two are one person now.",
    "customer-erased": "The customer is erased.",
    "aggregate-made": "The aggregate is saved.",
    "aggregate-deleted": "The aggregate is deleted.",
    "alerts-set": "The alerts are saved.",
    "alerts-deleted": "Nobody is told of this pool any more.",
    "test-sent": "A test message is on its way. It appears below.",
    "webhook-enabled": "What waits is tried at once.",
    "webhook-changed": "The webhook is changed. What it was not told yet follows.",
    "webhook-deleted": "The webhook is deleted.",
    "key-revoked": "The key is revoked.",
    "project-made": "The project is made. Make its first key next.",
    "project-renamed": "The project has its new name.",
    "project-deleted": "The project is being deleted. Its keys are refused.",
    "not-done": "The session had ended, so what you sent was not done. Sign in, and send it again.",
    "signed-out": "You are signed out.",
}
"""What a page says after a form, by the word in its address: nothing in an address is shown as it is."""

STATES = {
    "available": "good", "assigned": "busy", "redeemed": "", "void": "bad", "expired": "warn",
    "reserved": "busy", "queued": "", "running": "busy", "succeeded": "good", "failed": "bad", "cancelled": "warn",
    "pending": "busy", "delivered": "good", "active": "good", "paused": "", "armed": "good", "fallen": "bad",
    "failing": "warn", "disabled": "bad", "deleting": "warn",
}  # fmt: skip
"""The kind of each state, for its dot."""

WORDS = {
    "Give `has_header` true or false.": "Choose one under Header.",
    "Give `column` 0 if they are codes.": "Choose the column if they are codes.",
    "Give `column`, by name or index:": "Choose the column:",
    "Give `sheet`, by name or index:": "Choose the sheet:",
    "with the import (`accept_suspicious`) or after it.": "after the import.",
    "; see `skipped`.": ".",
    "Leave `encoding` out, or name": "Let the encoding be found out, or choose",
    "name the right one in `encoding`": "choose the right one",
    "Name the right encoding in `encoding`": "Choose the right encoding",
    "`customer_id_column`": "Given to",
    "`assigned_at_column`": "Given at",
    "`campaign_id_column`": "For campaign",
    "`redeemed_at_column`": "Used at",
    "`event_type`": "Event type",
}
"""What is said to programs of options, and what the pages say, whose fields these are."""


def in_words(text: str) -> str:
    """Return what an error or a warning says in the words of the pages."""
    for said, here in WORDS.items():
        text = text.replace(said, here)
    return text
