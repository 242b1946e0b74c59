"""Secrets of sources: bound to hosts, in their places only, and told by nobody."""

import pytest

from app.domain.imports.sources import fetching, secrets
from app.platform.errors import DomainError
from app.platform.projects import DEFAULT
from tests.domain.imports.servers import CODES, http_server

TOKEN = "t0p/s3cr@t?#"


@pytest.fixture
def server():
    with http_server() as server:
        server.at = f"127.0.0.1:{server.server_port}"
        yield server


@pytest.fixture(autouse=True)
def token(settings, monkeypatch):
    monkeypatch.setenv("VOUCHERS_SOURCE_TOKEN", TOKEN)
    monkeypatch.setenv("VOUCHERS_SOURCE_TOKEN_HOSTS", "shop.test,127.0.0.1")


def get(settings, url, **more):
    return b"".join(fetching.fetch(settings, {"type": "url", "url": url, **more}, project=DEFAULT))


def test_a_secret_with_any_character_arrives_as_it_is(settings, server):
    assert get(settings, f"http://u:${{env:VOUCHERS_SOURCE_TOKEN}}@{server.at}/") == CODES
    assert server.asked == ["Basic dTp0MHAvczNjckB0PyM="]
    assert get(settings, f"http://{server.at}/?token=${{env:VOUCHERS_SOURCE_TOKEN}}&a=1") == CODES


@pytest.mark.parametrize("hosts", [None, "", "other.test", "127.0.0.2, example.org", "27.0.0.1", "*"])
def test_a_secret_goes_to_no_host_but_those_that_the_operator_lists(settings, server, monkeypatch, hosts):
    monkeypatch.delenv("VOUCHERS_SOURCE_TOKEN_HOSTS")
    if hosts is not None:
        monkeypatch.setenv("VOUCHERS_SOURCE_TOKEN_HOSTS", hosts)
    with pytest.raises(DomainError, match=r"may not be sent to '127.0.0.1'") as raised:
        get(settings, f"http://u:${{env:VOUCHERS_SOURCE_TOKEN}}@{server.at}/")
    assert TOKEN not in raised.value.detail
    assert server.asked == []


R = "${env:VOUCHERS_SOURCE_TOKEN}"


@pytest.mark.parametrize(
    "source",
    [
        {"type": "url", "url": f"http://{R}/"},
        {"type": "url", "url": f"http://{R}.shop.test/"},
        {"type": "url", "url": f"http://shop.test/{R}"},
        {"type": "url", "url": f"http://{R}@shop.test/"},
        {"type": "url", "url": f"http://shop.test/?{R}=x"},
        {"type": "url", "url": f"http://shop.test/#{R}"},
        {"type": "url", "url": f"http://shop.test:{R}/"},
        {"type": "url", "url": f"{R}://shop.test/"},
        {"type": "database", "url": f"postgresql://u@shop.test/{R}", "query": "SELECT 1"},
        {"type": "database", "url": "postgresql://u@shop.test/x", "query": f"SELECT '{R}'"},
        {"type": "storage", "url": "s3://b/k", "options": {"endpoint_url": f"http://{R}"}},
        {"type": "storage", "url": "s3://b/k", "options": {"region_name": R}},
        {"type": "storage", "url": f"file:{R}"},
        {"type": "analysis", "of": "events", "property": "p", "where": {"a": R}},
        {"type": "url", "url": "http://u:${env:HOME}@shop.test/"},
        {"type": "url", "url": "http://u:${env:VOUCHERS_SECRET_KEY}@shop.test/"},
        {"type": "url", "url": "http://u:${env:VOUCHERS_SOURCE_TOKEN_HOSTS}@shop.test/"},
        {"type": "url", "url": "http://u:${ENV:VOUCHERS_SOURCE_TOKEN}@shop.test/"},
    ],
)
async def test_a_reference_stands_only_where_a_secret_may(client, settings, source):
    reply = await client.post("/v1/imports/preview", json={"source": source})
    assert reply.status_code == 422, reply.text
    for url, body in (
        ("/v1/pools/p/imports", {}),
        ("/v1/import-schedules", {"pool": "p", "cron": "0 6 * * *"}),
    ):
        refused = await client.post(url, json={"source": source, **body})
        assert refused.status_code == 422, refused.text
        assert TOKEN not in refused.text
    with pytest.raises((DomainError, KeyError)):
        secrets.filled(source)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:a/b@shop.test/x",
        "postgresql://u:a?b@shop.test/x",
        "postgresql://u:a#b@shop.test/x",
        "postgresql://u:a@b@shop.test/x",
        "postgresql://shop.test?x:s3cret@evil.test/x",
        "postgresql://u:%zz@shop.test/x",
        "postgresql://u:p@shop.test:1:2/x",
        "postgresql://u:p@a,b/x",
        "postgresql://u:p@[::1/x",
        "postgresql://u:p@shop.test:0/x",
    ],
)
async def test_a_url_that_could_be_read_in_two_ways_is_refused(client, url):
    source = {"type": "database", "url": url, "query": "SELECT 1"}
    reply = await client.post("/v1/pools/p/imports", json={"source": source})
    assert reply.status_code == 422, reply.text
    assert "percent-encoded" in reply.text or "port" in reply.text


@pytest.mark.parametrize("url", ["http://shop.test\\@evil.test/", "http://a@b@c/", "http://u:p@h:99999/"])
async def test_so_is_one_of_the_web(client, url):
    source = {"type": "url", "url": url}
    reply = await client.post("/v1/pools/p/imports", json={"source": source})
    assert reply.status_code == 422, reply.text


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://TOKEN@shop.test/a", "https://***@shop.test/a"),
        ("https://TOKEN:@shop.test/a", "https://***:@shop.test/a"),
        ("https://TOKEN:x-oauth@shop.test/a", "https://***:***@shop.test/a"),
        ("https://shop.test/a?TOKEN", "https://shop.test/a?***"),
        ("https://shop.test/a?k=TOKEN&b", "https://shop.test/a?k=***&***"),
        ("https://shop.test/a#TOKEN", "https://shop.test/a"),
        ("sftp://u:TOKEN@[::1]:22/a", "sftp://***:***@[::1]:22/a"),
        (f"https://u:{R}@shop.test/?a={R}", f"https://***:{R}@shop.test/?a={R}"),
        (f"https://u:TOKEN{R}@shop.test/", "https://***:***@shop.test/"),
        ("postgresql://u:TOKEN/@shop.test/x", "postgresql:***"),
    ],
)
def test_what_is_secret_is_masked(url, seen):
    assert secrets.masked({"type": "url", "url": url}) == {"type": "url", "url": seen}


@pytest.mark.parametrize("where", ["", "/missing"])
def test_no_error_tells_a_secret(settings, monkeypatch, where):
    monkeypatch.setenv("VOUCHERS_SOURCE_TOKEN_HOSTS", "127.0.0.1,no-such.test")
    for url in (
        f"postgresql://u:{R}@127.0.0.1:1/x",
        "postgresql://t0ps3cr3t:@127.0.0.1:1/x",
        f"postgresql://u:{R}@no-such.test/x",
    ):
        with pytest.raises(DomainError) as raised:
            list(
                fetching.fetch(
                    settings, {"type": "database", "url": url, "query": "SELECT 1"}, project=DEFAULT
                )
            )
        for form in (TOKEN, "t0ps3cr3t", "s3cr"):
            assert form not in raised.value.detail
            assert raised.value.__cause__ is None
