"""Make screenshots of eight pages: `python -m tests.console.pictures FOLDER`.

With `docs/images` as the folder: the three of README alone, small.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from tests.factories import KEY, fill
from tests.service import Service

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PAGES = {
    "pools": "/console/pools",
    "pool": "/console/pools/spring_sale",
    "voucher": "/console/vouchers/spring_sale-000001",
    "import-new": "/console/imports/new",
    "mapping": "/console/mapping",
    "personalization": "/console/personalization?pool=spring_sale&action=assign",
    "alerts": "/console/alerts?pool=spring_sale",
    "keys": "/console/keys",
}
LOOKS = {"1440": (1440, "light"), "1440-dark": (1440, "dark"), "768": (768, "light"), "360": (360, "dark")}

README = Path("docs/images")
SHOWN = ("pools", "pool", "personalization")


def launch(playwright: Any) -> Any:
    """The browser of the machine."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)


async def furnish(service: Service) -> None:
    """Pools with some life in them."""
    engine = service.engine()
    for pool, n in (("spring_sale", 2000), ("10_percent_discount", 300), ("100_EUR_off", 40)):
        await fill(engine, pool, n)
    await engine.dispose()
    async with service.client() as client:
        for n in range(25):
            body = {"customer_id": f"c-{n}", "message_id": "m", "campaign_id": "spring"}
            given = (await client.post("/v1/pools/spring_sale/assignments", json=body)).json()
            mapped = {"mappings": [{"event_type": "purchase", "property": "voucher_code"}]}
            if n == 0:
                await client.put("/v1/redemption-mapping", json=mapped)
            if n < 9:
                bought = {"voucher_code": given["code"] if n else 7, "total": 80}
                event = {"customer_id": f"c-{n}", "event_type": "purchase", "properties": bought}
                await client.post("/v1/events", json={"events": [event]})
        alerts = {"thresholds": [1000, 100, 0], "webhook_url": "https://hooks.example.org/vouchers"}
        await client.put("/v1/pools/spring_sale/alerts", json=alerts)


def main(folder: Path) -> None:
    """Make them."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  (tests are skipped where it is not)

    folder.mkdir(parents=True, exist_ok=True)
    with Service(workers=1) as service:
        asyncio.run(furnish(service))
        with sync_playwright() as playwright:
            browser = launch(playwright)
            if folder == README:
                page = sign_in(browser, service, 1200, "light", device_scale_factor=0.6)
                for name in SHOWN:
                    page.goto(PAGES[name])
                    page.screenshot(path=folder / f"console-{name}.png")
            else:
                for look, (width, scheme) in LOOKS.items():
                    take(sign_in(browser, service, width, scheme), folder, look, width)
            browser.close()


def sign_in(browser: Any, service: Service, width: int, scheme: str, **more: float) -> Any:
    """A page of somebody who has signed in."""
    context = browser.new_context(
        base_url=service.url, viewport={"width": width, "height": 900}, color_scheme=scheme, **more
    )
    page = context.new_page()
    page.goto("/console/login")
    page.get_by_label("API key").fill(KEY)
    page.get_by_role("button", name="Sign in").click()
    return page


def take(page: Any, folder: Path, look: str, width: int) -> None:
    """Take all pages in one look, and say where one is wider than the screen."""
    for name, path in PAGES.items():
        page.goto(path)
        page.screenshot(path=folder / f"{name}-{look}.png")
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            print(f"{name} at {width}: {wide} wide")  # noqa: T201  (a command prints)
    page.context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
