"""What tests of imports begin, and how they look at what came of it."""

from app.domain.imports.schemas import ImportOptions
from app.domain.imports.service import _InMemory, from_file
from app.platform.database import transaction

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
        return await from_file(connection, pool, "c.csv", _InMemory(text), ImportOptions(**options))


async def shown(client, import_id):
    return (await client.get(f"/v1/imports/{import_id}")).json()


def listing(numbers):
    return "code\n" + "".join(f"K-{n:06}\n" for n in numbers)
