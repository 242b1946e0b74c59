"""The main job from end to end, on a temporary database and a real, messy CSV; shows each request as curl."""

import asyncio
import re
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import orjson

from app.cli.checking import AGREE, violations_of_all
from app.cli.demo_data import furnish
from app.cli.leaving import leave_cleanly
from app.platform.databases import settings_of
from app.platform.errors import CommandError
from app.platform.postgres.server import LocalPostgres
from app.platform.setting_sources import DATABASES, environment_without
from app.platform.settings import Settings

TEMPLATE = (
    "Dear {{ customer.first_name }}, {{ vouchers['spring_sale'].assign_available() }} takes 10 % off."
    " ({{ vouchers['spring_sale'].count_available() }} of {{ vouchers['spring_sale'].count_total() }} left)"
)
CUSTOMERS = {"c-1": "Ada", "c-2": "Grace", "c-3": "Edsger"}

Json: TypeAlias = Any  # type: ignore[explicit-any]  # the demo reads what it knows is there


class DemoError(CommandError):
    """Something did not come out as promised."""


TWICE = "SPRING-9999999-C0FFEE"
"""A code that the file has twice."""
QUICK = 10_000
"""Codes of a demo that ends within seconds."""


def run(codes: int, *, keep: bool = False) -> None:
    """Do the main job with a file of so many codes, and fail loudly where a promise is broken.

    Args:
        codes: how many to import.
        keep: go on serving what was made until somebody ends it, with all that the examples of the page name.

    Raises:
        DemoError: an answer was not what it must be.
    """
    leave_cleanly()
    with tempfile.TemporaryDirectory(prefix="vouchers-") as folder:
        file = Path(folder) / "spring_sale.csv"
        messy = write_csv(file, codes)
        _say(f"A file from the shop: {codes:,} codes, {file.stat().st_size / 1e6:.1f} MB, among them {messy}")
        with _service(Path(folder)) as (url, key), _client(url) as client:
            client.headers["Authorization"] = f"Bearer {key}"
            _story(_Shown(client), file, codes)
            if keep:
                _serve_on(url, furnish(client, Path(folder) / "home"))
        _say("`vouchers check` recounts everything and proves that the books agree:")
        _check(Path(folder))


def _client(url: str) -> httpx.Client:
    """Return what talks to the service; no proxy that the environment names for others is asked."""
    return httpx.Client(base_url=url, timeout=600, trust_env=False)


def _serve_on(url: str, key: str) -> None:
    """Say where everything is, and wait until somebody ends it."""
    _say(f"Everything stays as it is until you end this with Ctrl-C. The page: {url}/docs")
    print(f"  Console: {url}/\n  API key: {key}", flush=True)
    with suppress(KeyboardInterrupt):
        signal.pause()


def write_csv(file: Path, codes: int) -> str:
    """Write a CSV as shop systems do, with a byte order mark and rows that cannot be imported; say which."""
    with file.open("w", encoding="utf-8-sig", newline="") as out:
        out.write('Voucher code;"Value";Note\r\n')
        for n in range(codes):
            code = f"SPRING-{n:07}-{secrets.token_hex(3).upper()}"
            if n % 1000 == 1:
                out.write(f'"  {code} ";"10,00 %";"for you; only you"\r\n')
            elif n % 1000 == 2:  # noqa: PLR2004  (every thousandth row, but another one)
                out.write(f"{code};10;\r\n\r\n")
            else:
                out.write(f"{code};10;\r\n")
        out.write(f"{TWICE};10;\r\n{TWICE};10;\r\n;10;no code\r\n")
        out.write(f"{'X' * 300};10;too long\r\nSPRING\x07BELL;10;a control character\r\n")
    return (
        "quoted cells, blank lines, one code twice, one missing, one of 300 characters, one with a bell in it"
    )


def _story(shown: "_Shown", file: Path, codes: int) -> None:
    _say("Import them into the pool 'spring_sale':")
    report = shown.upload("/v1/pools/spring_sale/imports", file)
    _must(report["status"] == "succeeded", "the import succeeds")
    _must(
        report["imported"] == codes + 1,
        "every good row becomes a voucher, the one that is there twice becomes one",
    )
    _must(report["rows"] == report["imported"] + report["ignored"] + report["rejected"], "the figures add up")
    shown.get(f"/v1/imports/{report['id']}/rejects")

    _say("Assign a code; a retry with the same key gets the same one:")
    body = {"customer_id": "c-0", "campaign_id": "spring"}
    first = shown.post("/v1/pools/spring_sale/assignments", body, {"Idempotency-Key": "order-4711"})
    again = shown.post("/v1/pools/spring_sale/assignments", body, {"Idempotency-Key": "order-4711"})
    _must(first == again, "a retry burns no code")

    _say(
        "Render the campaign's message: a preview takes no code, and each of three customers gets their own:"
    )
    message = {"template": TEMPLATE, "channel": "email", "campaign_id": "spring"}
    ada = {"customer_id": "c-1", "customer": {"first_name": "Ada"}}
    shown.post("/v1/render", {**message, **ada, "mode": "preview"})
    given = {}
    for customer, name in CUSTOMERS.items():
        about = {"customer_id": customer, "message_id": f"m-{customer}", "customer": {"first_name": name}}
        given[customer] = shown.post("/v1/render", {**message, **about, "mode": "send"})["vouchers"][0][
            "code"
        ]
    _must(len({first["code"], *given.values()}) == 1 + len(CUSTOMERS), "no code goes to two people")

    _say("The shop tracks purchases; say where it puts the code, and send it an event:")
    mapping = {"mappings": [{"event_type": "purchase", "property": "voucher_code"}]}
    shown.put("/v1/redemption-mapping", mapping)
    event = {
        "event_id": "e-1",
        "customer_id": "c-1",
        "event_type": "purchase",
        "properties": {"voucher_code": given["c-1"], "total": 49.9},
    }
    reply = shown.post("/v1/events", {"events": [event]})
    _must(reply["items"][0]["redemption"] == "redeemed", "the purchase redeems the voucher")
    shown.get(f"/v1/vouchers/{given['c-1']}")

    _say("The stock of the pool:")
    counts = shown.get("/v1/pools/spring_sale/counts")
    _must(
        counts["total"] == codes + 1 == sum(n for name, n in counts.items() if name not in {"total", "held"}),
        "the counts add up",
    )
    _must((counts["assigned"], counts["redeemed"]) == (3, 1), "three codes are assigned and one is redeemed")


class _Shown:
    """A client that prints what it does as curl, and what it is answered."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(self, path: str) -> Json:
        return self._do("GET", path)

    def put(self, path: str, body: object) -> Json:
        return self._do("PUT", path, body)

    def post(self, path: str, body: object, headers: dict[str, str] | None = None) -> Json:
        return self._do("POST", path, body, headers)

    def upload(self, path: str, file: Path) -> Json:
        headers = {"Prefer": "wait=60"}
        _show_curl("POST", path, [f"-F file=@{file.name}"], headers)
        started = time.perf_counter()
        with file.open("rb") as content:
            reply = self._client.post(path, files={"file": (file.name, content)}, headers=headers)
        report = _show_reply(reply)
        while report.get("status") in {"queued", "running"}:
            time.sleep(0.2)
            report = self._client.get(f"/v1/imports/{report['id']}").json()
        seconds = time.perf_counter() - started
        print(f"  {report['rows']:,} rows in {seconds:.1f} s, {report['rows'] / seconds:,.0f} a second")
        return report

    def _do(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Json:
        data = [] if body is None else ["--json " + shlex.quote(orjson.dumps(body).decode())]
        _show_curl(method, path, data, headers or {})
        return _show_reply(self._client.request(method, path, json=body, headers=headers))


def _show_curl(method: str, path: str, data: list[str], headers: dict[str, str]) -> None:
    given = [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items()]
    words = [
        "curl",
        *([f"-X {method}"] if method not in {"GET", "POST"} else []),
        '-H "$AUTH"',
        *given,
        *data,
    ]
    print(f"\n$ {' '.join(words)} $URL{path}")


def _show_reply(reply: httpx.Response) -> Json:
    print(f"  {reply.status_code} {reply.text[:700]}")
    _must(reply.is_success, "the request is answered")
    return reply.json()


@contextmanager
def _service(folder: Path) -> Iterator[tuple[str, str]]:
    """Run `vouchers serve` on a home of its own and a free port; give its URL and an admin key."""
    key = secrets.token_urlsafe(32)
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve", "--port", "0"],
        env=_environment(folder) | {"VOUCHERS_BOOTSTRAP_KEY": key},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None  # noqa: S101  (narrows the type)
        ready = next(
            (found for line in process.stdout if (found := re.search(r"http://\S+(?=/docs)", line))), None
        )
        _must(ready is not None, "the service starts")
        assert ready is not None  # noqa: S101  (narrows the type)
        _say(f"A PostgreSQL and the service, started in {time.perf_counter() - started:.1f} s: {ready[0]}")
        yield ready[0], key
    finally:
        process.terminate()
        process.wait()


def _check(folder: Path) -> None:
    with LocalPostgres(folder / "home") as postgres:
        broken = asyncio.run(violations_of_all(settings_of(Settings(), postgres.url)))
    print(f"\n$ vouchers check\n  {broken or AGREE}")
    _must(not broken, "the books agree")


def _environment(folder: Path) -> dict[str, str]:
    return environment_without(*DATABASES, "VOUCHERS_BOOTSTRAP_KEY") | {
        "VOUCHERS_HOME": str(folder / "home"),
        "VOUCHERS_LOG_LEVEL": "WARNING",
        "VOUCHERS_DRAIN_SECONDS": "0",
    }


def _say(text: str) -> None:
    print(f"\n== {text}")


def _must(true: bool, promise: str) -> None:
    if not true:
        raise DemoError(f"broken promise: {promise}")
