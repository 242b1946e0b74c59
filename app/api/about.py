"""What the OpenAPI document says of the API as a whole."""

TAGS = [
    {"name": "pools", "description": "Named sets of vouchers, and their counts."},
    {
        "name": "imports",
        "description": "From files, URLs, databases and storage to vouchers; once, or by the clock.",
    },
    {"name": "vouchers", "description": "One voucher, its history, lists and exports."},
    {
        "name": "assignments",
        "description": "Hand out codes, each exactly once; who got what.",
    },
    {"name": "holds", "description": "Set vouchers aside for a campaign before it starts."},
    {"name": "rendering", "description": "Messages from templates, with the codes in them."},
    {
        "name": "redemptions",
        "description": "Events of the shop, where they hold codes, and what came of these.",
    },
    {
        "name": "trackers",
        "description": "Customers and events as Exponea's clients send them; errors as they read them.",
    },
    {"name": "customers", "description": "Customers, their properties, and aggregates over their events."},
    {"name": "alerts", "description": "Be told in time that a pool runs low."},
    {"name": "webhooks", "description": "Be told of each code that is handed out, used or taken back."},
    {"name": "forecast", "description": "When a pool runs out, and how its stock went."},
    {"name": "access", "description": "API keys: who may do what, and for how long."},
    {
        "name": "projects",
        "description": "Shops that share the service, and the keys of each; scope `operator`.",
    },
    {"name": "audit", "description": "Who did what."},
    {"name": "operation", "description": "Health and metrics."},
]
DESCRIPTION = """A place that holds pools of voucher codes, hands out each code exactly once, puts it into messages, and
follows it until it is redeemed. It does not compute discounts; the shop does.

Send an API key as `Authorization: Bearer KEY`; all that a request names is looked for in the key's project. The first
start of the service prints a key, the command `vouchers api-key create` makes more, and `vouchers demo --quick --keep`
serves data on which every example here works.
Every error is a problem document (RFC 9457), whose `type` leads to a page that says what to do; only below `/track/`
errors are as Exponea's clients read them.
"""
LICENCE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
CONTACT = {"name": "Voucher Pools"}
SERVERS = [{"url": "/"}]
