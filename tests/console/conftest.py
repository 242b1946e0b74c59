"""People who are signed in to the console."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from html import unescape

import httpx
import pytest
from fastapi import FastAPI

from app.platform.settings import Settings
from tests.factories import KEY, add_key

Person = Callable[..., Awaitable[httpx.AsyncClient]]
NEW = "/console/imports/new"
CODES = ("A/B", "x/void", "/a?b#50%", "<b>&\"'🎟 /")
"""Codes of any letters."""
HIDDEN = r'<input type="hidden" name="([^"]+)" value="([^"]*)">'


@pytest.fixture
def settings(database_url: str, tmp_path) -> Settings:
    return Settings(DATABASE_URL=database_url, log_level="ERROR", key_cache_seconds=0, home=tmp_path / "home")


@pytest.fixture
async def person(app: FastAPI, engine) -> AsyncIterator[Person]:
    """Signs somebody in with a key of these scopes; none given: the admin key."""
    clients = []

    async def sign_in(*scopes: str) -> httpx.AsyncClient:
        key = f"{'-'.join(scopes)}-key-0123456789-0123456789-0123456789" if scopes else KEY
        if scopes:
            await add_key(engine, key, *scopes)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"Origin": "http://test"}
        client = httpx.AsyncClient(
            transport=transport, base_url="http://test", headers=headers, follow_redirects=True
        )
        clients.append(client)
        answer = await client.post("/console/login", data={"api_key": key})
        assert answer.url.path != "/console/login", answer.text
        return client

    yield sign_in
    for client in clients:
        await client.aclose()


async def csrf(client: httpx.AsyncClient) -> str:
    """The token of the session, as forms carry it; the sign-out form stands on each page."""
    answer = await client.get("/console/")
    found = re.search(r'name="csrf" value="([^"]+)"', answer.text)
    assert found, answer.text
    return found[1]


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of the wizard's form, as a browser reads them."""
    return {name: unescape(value) for name, value in re.findall(HIDDEN, page)}


def marked(page: httpx.Response) -> list[str]:
    """The fields that a page says are wrong."""
    return re.findall(r'<input id="f-(\w+)" [^>]*aria-invalid="true"', page.text)
