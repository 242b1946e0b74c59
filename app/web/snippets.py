"""Lines ready to paste into a template or a shell."""

import shlex
from collections.abc import Mapping
from urllib.parse import quote

import orjson


def literal(text: str) -> str:
    """Return a text as a string literal of a template."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def snippets(base_url: str, pool: str) -> dict[str, dict[str, str]]:
    """Return the snippets of one pool, named by what they do, in Jinja and for curl."""
    url = f"{base_url.rstrip('/')}/v1/pools/{quote(pool, safe='')}"
    message = {"customer_id": "CUSTOMER", "message_id": "MESSAGE"}
    assign = f"vouchers[{literal(pool)}].assign_available"
    return {
        "assign": {"jinja": f"{{{{ {assign}() }}}}", "curl": _post(f"{url}/assignments", message)},
        "assign_without_cache": {
            "jinja": f"{{{{ {assign}(cached=false) }}}}",
            "curl": _post(f"{url}/assignments", {"customer_id": "CUSTOMER"}),
        },
        "once_per_customer": {
            "jinja": f"{{# with this rule each view shows a customer the same code #}}{{{{ {assign}() }}}}",
            "curl": _send("PATCH", url, {"per_customer": {"count": 1, "days": 30, "then": "same"}}),
        },
        "link": {
            "jinja": f'<a href="https://example.org/?code={{{{ {assign}() | urlencode }}}}">…</a>',
            "curl": _post(f"{url}/assignments", message),
        },
        **{
            f"count_{which}": {
                "jinja": f"{{{{ vouchers[{literal(pool)}].count_{which}() }}}}",
                "curl": f"{_get(f'{url}/counts')} | python3 -c "
                + shlex.quote(f"import json, sys; print(json.load(sys.stdin)['{which}'])"),
            }
            for which in ("available", "total")
        },
    }


def _get(url: str) -> str:
    return f'curl -fsS -H "Authorization: Bearer $VOUCHERS_KEY" {shlex.quote(url)}'


def _send(method: str, url: str, body: dict[str, object]) -> str:
    return _post(url, body).replace("curl -fsS", f"curl -fsS -X {method}", 1)


def _post(url: str, body: Mapping[str, object]) -> str:
    data = shlex.quote(orjson.dumps(body).decode())
    return f"{_get(url)} -H 'Content-Type: application/json' -d {data}"
