"""What tests of imports begin, and how they look at what came of it."""

import asyncio

from app.domain.imports.beginning import InMemory, from_file
from app.domain.imports.merging import pipeline
from app.domain.imports.options import ImportOptions
from app.domain.lifecycle import check
from app.platform.database import transaction
from app.platform.projects import DEFAULT

FIGURES = ("rows", "imported", "ignored", "rejected")


def figures(done):
    assert done["rows"] == done["imported"] + done["ignored"] + done["rejected"]
    assert done["rejected"] == sum(done["rejected_by"].values())
    return tuple(done[name] for name in FIGURES)


async def rejects(client, done):
    return (await client.get(f"/v1/imports/{done['id']}/rejects")).json()["items"]


async def codes(client, pool="p"):
    listed = await client.get(f"/v1/pools/{pool}/vouchers", params={"limit": 1000})
    return {item["code"] for item in listed.json().get("items", [])}  # an import that failed leaves no pool


async def queue(engine, text, pool="p", **options):
    """An import that no job runs yet."""
    async with transaction(engine) as connection:
        return await from_file(connection, pool, "c.csv", InMemory(text), ImportOptions(**options))


async def run_job(engine, settings, client, content, pool="p", **options):
    """Import a file by the job itself, as no worker runs here; its figures."""
    import_id = await queue(engine, content, pool, **options)
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    return await shown(client, import_id)


async def books_agree(engine):
    async with transaction(engine) as connection:
        assert await check.violations(connection) == []


async def counts(client, pool="p"):
    """How many codes of a pool are in each state that some are in."""
    found = (await client.get(f"/v1/pools/{pool}/counts")).json()
    return {name: n for name, n in found.items() if n and name not in {"total", "held"}}


async def shown(client, import_id):
    return (await client.get(f"/v1/imports/{import_id}")).json()


def listing(numbers):
    return "code\n" + "".join(f"K-{n:06}\n" for n in numbers)
