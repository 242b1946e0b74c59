"""Each source against a real server of its kind."""

import asyncio
import re
import shutil
import socket
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import asyncssh
import boto3
import httpx
import psycopg
import pytest
from gcp_storage_emulator.server import create_server
from moto.server import ThreadedMotoServer

from app.domain.imports.sources import fetching, kinds
from app.domain.imports.sources import secrets as sealing
from app.platform.database_url import conninfo
from app.platform.errors import DomainError
from app.platform.postgres.server import LocalPostgres
from app.platform.projects import DEFAULT
from app.platform.settings import get_settings
from app.server.worker import work
from tests.domain.imports.imported import codes, figures
from tests.domain.imports.servers import CODES, http_server, on_loopback, sftp_server

SOURCE_CODES = {"S-1", "S-2", "S-3"}


@pytest.fixture(scope="module")
def other_database():
    """A second PostgreSQL, of another owner, that listens on loopback."""
    home = Path(tempfile.mkdtemp(prefix="vp-"))
    try:
        with LocalPostgres(home) as server:
            with psycopg.connect(conninfo(server.url), autocommit=True) as connection:
                connection.execute("CREATE TABLE coupon (code text, until date, percent int)")
                connection.execute(
                    "INSERT INTO coupon SELECT 'S-' || n, '2099-01-01', n FROM generate_series(1, 3) AS n"
                )
            with on_loopback(home / "run" / ".s.PGSQL.5432") as port:
                yield f"postgresql://vouchers:s3cret@127.0.0.1:{port}/vouchers"
    finally:
        shutil.rmtree(home)


@pytest.fixture
def server():
    with http_server() as server:
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server


async def test_text(client, fetch):
    done = (await fetch({"type": "text", "text": "\ufeffcode\nS-1\nS-ä\n"})).json()
    assert figures(done) == (2, 2, 0, 0), done
    assert done["source"] == {"type": "text"}
    assert await codes(client) == {"S-1", "S-ä"}


async def test_url(client, fetch, server):
    url = f"{server.url}/codes.csv?signature=abc123".replace("//", "//shop:s3cret@", 1)
    reply = await fetch({"type": "url", "url": url})
    assert figures(reply.json()) == (3, 3, 0, 0), reply.text
    assert await codes(client) == SOURCE_CODES
    assert server.asked == ["Basic c2hvcDpzM2NyZXQ="]
    assert reply.json()["source"]["url"].startswith("http://***:***@127.0.0.1")
    assert "s3cret" not in reply.text
    assert "abc123" not in reply.text


async def test_secrets_are_encrypted_in_the_database(client, connection, fetch, server):
    await fetch({"type": "url", "url": f"{server.url}/?token=s3cret"})
    row = (await connection.exec_driver_sql("SELECT import::text AS row, sealed FROM import")).one()
    assert "s3cret" not in row.row
    assert b"s3cret" not in row.sealed
    assert sealing.unseal(get_settings(), row.sealed)["url"].endswith("?token=s3cret")


async def test_a_secret_may_be_a_name_of_the_environment(client, fetch, server, monkeypatch):
    monkeypatch.setenv("VOUCHERS_SOURCE_SHOP", "s3cret")
    monkeypatch.setenv("VOUCHERS_SOURCE_SHOP_HOSTS", "shop.test, 127.0.0.1")
    url = server.url.replace("//", "//shop:${env:VOUCHERS_SOURCE_SHOP}@")
    done = (await fetch({"type": "url", "url": url})).json()
    assert figures(done) == (3, 3, 0, 0), done
    assert server.asked == ["Basic c2hvcDpzM2NyZXQ="]
    assert done["source"]["url"] == url.replace("shop:", "***:")
    missing = (await fetch({"type": "url", "url": url.replace("SHOP", "ELSE")})).json()
    assert "'VOUCHERS_SOURCE_ELSE', which is not set" in missing["error"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/missing", "answered 404"),
        ("/to/http://169.254.169.254/latest/meta-data", "169.254.169.254"),
        ("/to/http://127.0.0.2/", "no public address"),
        ("/to/http://10.0.0.1/", "10.0.0.1"),
        ("/to/ftp://127.0.0.1/", "cannot be read"),
        ("/loop", "maximum allowed redirects"),
    ],
)
async def test_a_url_that_leads_nowhere_fails_with_the_reason(client, fetch, server, path, says):
    done = (await fetch({"type": "url", "url": server.url + path})).json()
    assert done["status"] == "failed"
    assert says in done["error"]


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ({"fetch_seconds": 0.3}, "did not end within 0.3 seconds"),
        ({"max_upload_bytes": 50}, "larger than 50 bytes"),
    ],
    ids=["time", "size"],
)
async def test_a_url_that_never_ends_is_given_up(client, settings, begun_by_the_clock, server, limit, says):
    worker = asyncio.create_task(work(settings.model_copy(update=limit)))
    for path, status in (("/endless", "failed"), ("", "succeeded")):
        wanted = {"source": {"type": "url", "url": server.url + path}}
        done = (await client.post("/v1/pools/p/imports", json=wanted, headers={"Prefer": "wait=30"})).json()
        assert done["status"] == status
        assert status == "succeeded" or says in done["error"]
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)


async def test_database(client, fetch, other_database):
    query = "SELECT percent, code, until FROM coupon WHERE code LIKE 'S-%' -- all; of them\n;"
    reply = await fetch(
        {"type": "database", "url": other_database, "query": query}, expires_at_column="until"
    )
    assert figures(reply.json()) == (3, 3, 0, 0), reply.text
    assert "s3cret" not in reply.text
    listed = (await client.get("/v1/pools/p/vouchers")).json()["items"]
    assert {item["code"] for item in listed} == SOURCE_CODES
    assert {item["expires_at"] for item in listed} == {"2099-01-02T00:00:00Z"}
    query = "SELECT code FROM coupon WHERE false"
    none = (await fetch({"type": "database", "url": other_database, "query": query})).json()
    assert (none["status"], none["rows"]) == ("succeeded", 0)


@pytest.mark.long
async def test_a_query_only_reads(client, fetch, other_database):
    for query, says in (
        ("SELECT 1; DELETE FROM coupon", "cannot be read"),
        ("WITH gone AS (DELETE FROM coupon RETURNING code) SELECT * FROM gone", "cannot be read"),
        ("SELECT code INTO copied FROM coupon", "cannot be read"),
        ("SELECT nextval('nothing')", "cannot be read"),
        ("SELECT nonsense FROM coupon", 'column "nonsense" does not exist'),
    ):
        done = (await fetch({"type": "database", "url": other_database, "query": query})).json()
        assert (done["status"], says in (done["error"] or "")) == ("failed", True), (query, done)
    query = "SELECT code FROM coupon"
    assert (await fetch({"type": "database", "url": other_database, "query": query})).json()["rows"] == 3


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://u:s3cret@169.254.169.254/x", "no public address"),
        ("postgresql://u:s3cret@127.0.0.1:1/x", "cannot be read"),
        ("postgresql://u@127.0.0.1/x?host=/run/postgresql", "may not have the parameter 'host'"),
        ("postgresql:///x", "has no host"),
        ("oracle+nonsense://u@127.0.0.1/x", "driver for oracle+nonsense is not installed"),
        ("no url", "not valid"),
    ],
)
def test_a_database_is_reached_only_where_the_service_may_go(settings, url, says):
    with pytest.raises(DomainError, match=re.escape(says)) as raised:
        list(fetching.fetch(settings, {"type": "database", "url": url, "query": "SELECT 1"}, project=DEFAULT))
    assert "s3cret" not in raised.value.detail


@pytest.mark.parametrize(
    "query",
    ["DELETE FROM coupon", "/* SELECT */ DROP TABLE coupon", "(DELETE FROM coupon)", "", "-- SELECT 1"],
)
async def test_what_is_no_select_is_refused_when_it_is_given(client, query):
    source = {"type": "database", "url": "postgresql://u@shop.test/x", "query": query}
    reply = await client.post("/v1/pools/p/imports", json={"source": source})
    assert reply.status_code == 422
    assert (await client.get("/v1/pools/p")).status_code == 404


@pytest.mark.long
@pytest.mark.parametrize(("before", "options"), [("", {}), ("1 AS n, ", {"column": "code"})])
async def test_values_of_a_database_become_the_codes_that_are_meant_or_none(
    client, fetch, other_database, before, options
):
    meant = {
        "'ab'::bytea": "ab",
        "ARRAY['a', 'b10']": None,
        "'[1]'::json": None,
        "true": None,
        "'\\xff'::bytea": None,
        "1e16::float8": None,
        "12345::float8": "12345",
        "100000000000000000000::numeric": "100000000000000000000",
        "'3fa85f64-5717-4562-b3fc-2c963f66afa6'::uuid": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    }
    for value, code in meant.items():
        source = {"type": "database", "url": other_database, "query": f"SELECT {before}{value} AS code"}
        done = (await fetch(source, **options)).json()
        told = "'code' holds values of the type" in (done["error"] or "")
        assert (done["status"], told) == (("succeeded", False) if code else ("failed", True)), (value, done)
    assert await codes(client) == {code for code in meant.values() if code}


async def test_a_query_in_brackets_and_an_end_that_never_comes(client, fetch, other_database):
    query = "(SELECT code, 'infinity'::timestamptz AS until, ARRAY[1] AS list FROM coupon)"
    source = {"type": "database", "url": other_database, "query": query}
    done = (await fetch(source, column="code", expires_at_column="until")).json()
    assert figures(done) == (3, 3, 0, 0), done
    listed = (await client.get("/v1/pools/p/vouchers")).json()["items"]
    assert {item["expires_at"] for item in listed} == {None}


async def test_a_query_without_a_row_ends_whatever_its_columns_are(fetch, settings):
    with closing(sqlite3.connect(settings.import_folder / "shop.db")) as database:
        database.execute("CREATE TABLE coupon (serial, pin)")
        database.commit()
    source = {"type": "database", "url": "sqlite:///shop.db", "query": "SELECT * FROM coupon"}
    for more in ({}, {"customer_id_column": "serial"}):
        done = (await fetch(source, **more)).json()
        assert (done["status"], done["rows"], "no row" in done["note"]) == ("succeeded", 0, True), done
    asked = await fetch(source, column="code")
    assert asked.json()["type"] == "/problems/import-undecided"


@pytest.mark.long
async def test_sqlite_in_the_folder_for_imports(client, fetch, settings, tmp_path):
    for path in (settings.import_folder / "shop.db", tmp_path / "secret.db"):
        with closing(sqlite3.connect(path)) as database:
            database.execute(
                "CREATE TABLE coupon AS SELECT 'S-1' AS code UNION SELECT 'S-2' UNION SELECT 'S-3'"
            )
            database.commit()
    query = "SELECT code FROM coupon"
    done = (await fetch({"type": "database", "url": "sqlite:///shop.db", "query": query})).json()
    assert figures(done) == (3, 3, 0, 0), done
    for name in ("my shop.db", "a?b.db", "a#b.db", "100%.db", "%41.db"):
        (settings.import_folder / name).write_bytes((settings.import_folder / "shop.db").read_bytes())
        source = {"type": "database", "url": f"sqlite:///{quote(name)}", "query": query}
        assert (await fetch(source)).json()["ignored"] == 3, name
    assert not (settings.import_folder / "a").exists()
    for url in (f"sqlite:///{tmp_path}/secret.db", "sqlite:///../secret.db"):
        done = (await fetch({"type": "database", "url": url, "query": query})).json()
        assert "no such file in the folder" in done["error"]
    gone = "WITH x AS (SELECT 1) DELETE FROM coupon"
    done = (await fetch({"type": "database", "url": "sqlite:///shop.db", "query": gone})).json()
    assert done["status"] == "failed"


async def test_a_file_in_the_folder_for_imports(client, fetch, settings, tmp_path):
    (settings.import_folder / "codes.csv").write_bytes(CODES)
    (tmp_path / "secret.csv").write_bytes(CODES)
    assert figures((await fetch({"type": "storage", "url": "file:codes.csv"})).json()) == (3, 3, 0, 0)
    for url in ("file:../secret.csv", f"file://{tmp_path}/secret.csv", "file:%2e%2e/secret.csv"):
        assert "no such file in the folder" in (await fetch({"type": "storage", "url": url})).json()["error"]


async def test_sftp(client, fetch, tmp_path):
    (tmp_path / "remote").mkdir()
    (tmp_path / "remote" / "my codes.csv").write_bytes(CODES)
    async with sftp_server(tmp_path / "remote") as (port, _):
        url = f"sftp://shop:s3cret@127.0.0.1:{port}"
        reply = await fetch({"type": "storage", "url": f"{url}/my%20codes.csv"})
        assert figures(reply.json()) == (3, 3, 0, 0), reply.text
        assert "s3cret" not in reply.text
        missing = (await fetch({"type": "storage", "url": f"{url}/other.csv"})).json()
        assert "cannot be read" in missing["error"]
        wrong = (await fetch({"type": "storage", "url": url.replace("s3cret", "wr0ng") + "/my.csv"})).json()
        assert "Authentication failed" in wrong["error"]
        assert "wr0ng" not in wrong["error"]


async def test_an_sftp_server_is_known_by_its_key(client, fetch, tmp_path):
    (tmp_path / "remote").mkdir()
    (tmp_path / "remote" / "codes.csv").write_bytes(CODES)
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    async with sftp_server(tmp_path / "remote") as (port, key):
        source = {"type": "storage", "url": f"sftp://shop:s3cret@127.0.0.1:{port}/codes.csv"}

        async def with_key(**options):
            return (await fetch({**source, "options": options})).json()

        assert "another key than `host_key`: ssh-ed25519 SHA256:" in (await with_key(host_key=other))["error"]
        assert "no public key" in (await with_key(host_key="AAAA!"))["detail"]
        assert "takes no option 'key'" in (await with_key(key=key))["detail"]
        known = f"[127.0.0.1]:{port} {key}\n[127.0.0.1]:{port} {other}"
        assert figures(await with_key(host_key=known)) == (3, 3, 0, 0)


@pytest.mark.long
async def test_s3(client, fetch):
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        access = {"endpoint_url": f"http://{host}:{port}", "region_name": "us-east-1"}
        s3 = boto3.client("s3", aws_access_key_id="shop", aws_secret_access_key="s3cret", **access)
        s3.create_bucket(Bucket="codes")
        s3.put_object(Bucket="codes", Key="new/mÿ codes.csv", Body=CODES)
        options = {**access, "key": "shop", "secret": "s3cret"}
        reply = await fetch(
            {"type": "storage", "url": "s3://codes/new/m%C3%BF%20codes.csv", "options": options}
        )
        assert figures(reply.json()) == (3, 3, 0, 0), reply.text
        assert "s3cret" not in reply.text
        missing = {"type": "storage", "url": "s3://codes/old.csv", "options": options}
        assert "cannot be read" in (await fetch(missing)).json()["error"]
        private = {**options, "endpoint_url": "http://169.254.169.254"}
        done = (await fetch({"type": "storage", "url": "s3://codes/x", "options": private})).json()
        assert "no public address" in done["error"]
    finally:
        server.stop()


@pytest.mark.long
def test_s3_does_not_follow_a_name_that_means_something_else_a_moment_later(settings, monkeypatch):
    real, asked = socket.getaddrinfo, []

    def rebinding(host, *arguments, **options):
        if host != "rebind.test":
            return real(host, *arguments, **options)
        asked.append(host)
        address = "93.184.216.34" if len(asked) == 1 else "10.0.0.7"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    options = {"endpoint_url": "http://rebind.test", "key": "shop", "secret": "s3cret"}
    with pytest.raises(DomainError, match=r"'rebind.test' is at 10.0.0.7, which is no public address"):
        list(kinds.fetch(settings, {"type": "storage", "url": "s3://codes/x.csv", "options": options}))
    assert len(asked) > 1


def test_google_cloud_storage(settings, monkeypatch):
    server = create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    try:
        url = "http://{}:{}".format(*server._api._httpd.server_address)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        with httpx.Client(base_url=url) as google:
            google.post("/storage/v1/b", params={"project": "shop"}, json={"name": "codes"})
            path = "/upload/storage/v1/b/codes/o"
            google.post(path, params={"uploadType": "media", "name": "new/my codes.csv"}, content=CODES)
        source = {"type": "storage", "url": "gs://codes/new/my%20codes.csv"}
        assert b"".join(kinds.fetch(settings, source)) == CODES
        with pytest.raises(DomainError, match="cannot be read"):
            list(kinds.fetch(settings, {"type": "storage", "url": "gs://codes/old.csv"}))
        key = {"type": "service_account", "token_uri": "http://169.254.169.254/"}
        with pytest.raises(DomainError, match="takes one option"):
            list(kinds.fetch(settings, {**source, "options": {"token": key}}))
    finally:
        server.stop()


@pytest.mark.parametrize("url", ["http://x/y", "memory://x", "zip://x::file:y", "ftp://x/y", "nonsense"])
def test_there_is_no_other_storage(settings, url):
    with pytest.raises(DomainError, match=r"There is no storage|URL is not valid"):
        list(fetching.fetch(settings, {"type": "storage", "url": url}, project=DEFAULT))


async def test_analysis_of_customers(client, fetch, connection):
    await connection.exec_driver_sql("""
        INSERT INTO customer (id, properties) VALUES
        ('a', '{"own_code": "S-1", "vip": true}'), ('b', '{"own_code": "S-2", "vip": false}'), ('c', '{}')
    """)
    await connection.commit()
    source = {"type": "analysis", "of": "customers", "property": "own_code", "where": {"vip": True}}
    done = (await fetch(source)).json()
    assert figures(done) == (1, 1, 0, 0), done
    assert await codes(client) == {"S-1"}


async def test_analysis_of_events(client, fetch, connection):
    await connection.exec_driver_sql("""
        INSERT INTO event (id, customer_id, event_type, properties, timestamp) VALUES
        ('1', 'a', 'refund', '{"code": "S-1"}', now()), ('2', 'a', 'refund', '{"code": "S-1"}', now()),
        ('3', 'b', 'purchase', '{"code": "X-1"}', now()), ('4', 'b', 'refund', '{"code": "S-2,\'\'x"}', now())
    """)
    await connection.commit()
    source = {"type": "analysis", "of": "events", "event_type": "refund", "property": "code"}
    assert figures((await fetch(source)).json()) == (2, 2, 0, 0)
    assert await codes(client) == {"S-1", "S-2,'x"}


async def test_values_of_an_analysis_that_are_no_texts_are_rejects(client, fetch, connection):
    await connection.exec_driver_sql("""
        INSERT INTO customer (id, properties) VALUES
        ('a', '{"code": "S-1"}'), ('b', '{"code": ["S-2"]}'), ('c', '{"code": {"x": 1}}'), ('d', '{"code": true}'),
        ('e', '{"code": 3}'), ('f', '{"code": "3"}'), ('g', '{"code": null}'), ('h', '{"only": [1]}')
    """)
    await connection.commit()
    done = (await fetch({"type": "analysis", "of": "customers", "property": "code"})).json()
    assert figures(done) == (6, 2, 0, 4), done
    assert await codes(client) == {"S-1", "3"}
    rejects = (await client.get(f"/v1/imports/{done['id']}/rejects")).json()["items"]
    assert {(item["value"], item["reason"]) for item in rejects} == {
        (value, "not_a_text") for value in ('["S-2"]', '{"x": 1}', "true", "3")
    }
    none = (await fetch({"type": "analysis", "of": "customers", "property": "only"}, pool="q")).json()
    assert (none["status"], "holds lists (1), and no text" in none["error"]) == ("failed", True)
    preview = await client.post(
        "/v1/imports/preview",
        json={"source": {"type": "analysis", "of": "customers", "property": "code", "where": {"code": 3}}},
    )
    assert "holds numbers (1), and no text" in preview.json()["detail"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"property": "vocher"}, "No event has a property 'vocher'; similar: 'Voucher'."),
        ({"property": "Voucher", "event_type": "purchas"}, "type 'purchas'; similar: 'purchase'."),
        ({"property": "Voucher", "where": {"sop": "a"}}, "property 'sop'; similar: 'shop'."),
        ({"property": "x"}, "No event has a property 'x'."),
    ],
)
async def test_a_misspelt_name_of_an_analysis_gives_a_hint(client, fetch, connection, changes, says):
    await connection.exec_driver_sql("""
        INSERT INTO event (id, customer_id, event_type, properties, timestamp)
        VALUES ('1', 'a', 'purchase', '{"Voucher": "S-1", "shop": "b"}', now())
    """)
    await connection.commit()
    done = (await fetch({"type": "analysis", "of": "events", **changes})).json()
    assert (done["status"], says in (done["error"] or "")) == ("failed", True), done
    nothing = {"type": "analysis", "of": "events", "property": "Voucher", "where": {"shop": "a"}}
    empty = (await fetch(nothing, pool="q")).json()
    assert (empty["status"], empty["rows"], "no row" in empty["note"]) == ("succeeded", 0, True)


async def test_a_source_is_previewed(client, server, other_database):
    for source in (
        {"type": "text", "text": CODES.decode()},
        {"type": "url", "url": server.url},
        {"type": "database", "url": other_database, "query": "SELECT code FROM coupon ORDER BY 1"},
    ):
        preview = (await client.post("/v1/imports/preview", json={"source": source})).json()
        assert preview["rows"] == [["S-1"], ["S-2"], ["S-3"]], preview
        assert preview["columns"] == [{"index": 0, "name": "code", "suggested": True}]
    refused = await client.post(
        "/v1/imports/preview", json={"source": {"type": "url", "url": "http://169.254.169.254/"}}
    )
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/address-forbidden")
