"""The tables, by subject. Importing this package makes the metadata whole."""

from app.schema import (
    access,
    alerts,
    changes,
    customers,
    imports,
    inventory,
    ledger,
    order,
    projects,
    redemptions,
    webhooks,
)

__all__ = [
    "access",
    "alerts",
    "changes",
    "customers",
    "imports",
    "inventory",
    "ledger",
    "order",
    "projects",
    "redemptions",
    "webhooks",
]
