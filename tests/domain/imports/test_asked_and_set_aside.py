"""Questions, values that were set aside, and columns beside the codes, as callers meet them."""

import asyncio

import pytest

from app.domain.imports import service as imports
from app.domain.lifecycle import check
from app.domain.pools import service as pools
from app.platform.database import transaction
from tests.domain.imports.imported import codes, figures, rejects
from tests.domain.imports.servers import http_server
from tests.waiting import until_somebody_waits

PIN = "Serial;PIN\nAB11-2233;9911\nAB11-2244;8812\nAB11-2255;7713\n"
FOOTED = "code;value\nA-11;5\nA-12;5\nA-13;5\nTotal: 3;15\n"


async def test_an_upload_that_leaves_the_column_open_is_asked_at_once_and_leaves_nothing(client, upload):
    reply = await upload(PIN)
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/import-undecided")
    assert reply.json()["choices"] == {
        "column": [
            {"index": 0, "name": "Serial", "first_values": ["AB11-2233", "AB11-2244", "AB11-2255"]},
            {"index": 1, "name": "PIN", "first_values": ["9911", "8812", "7713"]},
        ]
    }
    assert "'Serial'" in reply.json()["detail"]
    assert (await client.get("/v1/pools/p")).status_code == 404
    assert (await client.get("/v1/imports")).json()["items"] == []
    answered = (await upload(PIN, column="Serial")).json()
    assert figures(answered) == (3, 3, 0, 0)
    assert answered["columns_not_imported"] == ["PIN"]


async def test_text_that_leaves_the_header_open_is_asked_and_answered(client, fetch):
    source = {"type": "text", "text": "apfel\nbirne\nkirsche\npflaume\n"}
    reply = await fetch(source)
    assert reply.status_code == 422
    assert list(reply.json()["choices"]) == ["has_header"]
    assert figures((await fetch(source, has_header=False)).json()) == (4, 4, 0, 0)
    assert figures((await fetch(source, pool="q", has_header=True)).json())[0] == 3


async def test_a_source_that_is_fetched_is_asked_about_when_it_was_waited_for(client, fetch):
    with http_server() as server:
        server.content = PIN.encode()
        url = f"http://127.0.0.1:{server.server_port}/as-set"
        reply = await fetch({"type": "url", "url": url})
        assert reply.status_code == 422, reply.text
        assert [choice["name"] for choice in reply.json()["choices"]["column"]] == ["Serial", "PIN"]
    (failed,) = (await client.get("/v1/imports")).json()["items"]
    assert failed["status"] == "failed"
    assert failed["error"] == reply.json()["detail"]
    assert figures(failed) == (0, 0, 0, 0)


async def test_what_is_set_aside_is_counted_listed_and_not_handed_out(client, upload):
    done = (await upload(FOOTED)).json()
    assert figures(done) == (4, 3, 0, 1)
    assert done["rejected_by"] == {"in_other_pool": 0, "invalid": 0, "suspicious": 1}
    assert await rejects(client, done) == [
        {"line": 5, "value": "Total: 3", "reason": "suspicious", "other_pool": None}
    ]
    assert (await client.get("/v1/pools/p/counts")).json()["available"] == 3


async def test_what_was_set_aside_can_be_taken_after_all_once(client, upload):
    await upload("code\nELSEWHERE\nZ-77\nZ-78\n", pool="other", accept_suspicious="true")
    text = "code\nA-11\nA-12\nA-13\nHELLO\nELSEWHERE\n" + "".join(f"A-{n}\n" for n in range(20, 200))
    done = (await upload(text, expires_at="2099-01-01T00:00:00Z")).json()
    assert done["rejected_by"]["suspicious"] == 2, done
    url = f"/v1/imports/{done['id']}/accept-suspicious"
    taken = await client.post(url)
    assert taken.status_code == 200, taken.text
    assert taken.json()["rejected_by"] == {"in_other_pool": 1, "invalid": 0, "suspicious": 0}
    assert figures(taken.json()) == (185, 184, 0, 1)
    assert "HELLO" in await codes(client)
    assert (await client.get("/v1/vouchers/HELLO")).json()["expires_at"] == "2099-01-01T00:00:00Z"
    assert (await client.post(url)).json() == taken.json()
    assert await rejects(client, done) == [
        {"line": 6, "value": "ELSEWHERE", "reason": "in_other_pool", "other_pool": "other"}
    ]
    undone = (await client.post(f"/v1/imports/{done['id']}/undo")).json()
    assert (undone["taken_back"], undone["kept"]) == (184, 0)


async def test_what_is_taken_after_all_goes_with_its_pool(client, engine, upload):
    done = (await upload(FOOTED)).json()
    async with transaction(engine) as accepting:
        await imports.accept_suspicious(accepting, None, done["id"])
        deleting = asyncio.create_task(client.delete("/v1/pools/p"))
        await until_somebody_waits(engine)
    assert (await deleting).status_code == 204
    assert (await client.get("/v1/vouchers/Total: 3")).status_code == 404
    done = (await upload(FOOTED)).json()
    async with transaction(engine) as deleting:
        await pools.delete(deleting, None, "p")
        late = asyncio.create_task(client.post(f"/v1/imports/{done['id']}/accept-suspicious"))
        await until_somebody_waits(engine)
    assert ((await late).status_code, (await late).json()["type"]) == (404, "/problems/pool-not-found")
    async with transaction(engine) as connection:
        assert await check.violations(connection) == []


async def test_accepting_needs_an_import_that_has_ended_and_the_scope(client, engine):
    made = (await client.post("/v1/pools/p/imports", files={"file": ("c.csv", b"code\nA1\n")})).json()
    reply = await client.post(f"/v1/imports/{made['id']}/accept-suspicious")
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/import-not-finished")
    missing = "00000000-0000-0000-0000-000000000000"
    assert (await client.post(f"/v1/imports/{missing}/accept-suspicious")).status_code == 404


async def test_whoever_says_so_beforehand_gets_all_of_it(client, upload):
    assert figures((await upload(FOOTED, accept_suspicious="true")).json()) == (4, 4, 0, 0)
    assert "Total: 3" in await codes(client)


async def test_a_dry_run_tells_the_same_and_accepting_does_nothing(client, upload):
    done = (await upload(FOOTED, dry_run="true")).json()
    assert figures(done) == (4, 3, 0, 1)
    assert (await client.post(f"/v1/imports/{done['id']}/accept-suspicious")).json() == done
    assert (await client.get("/v1/pools/p")).status_code == 404


async def test_the_preview_shows_what_is_skipped_suspicious_beside_and_open(client):
    async def preview(text):
        return (await client.post("/v1/imports/preview", files={"file": ("c.csv", text.encode())})).json()

    shown = await preview("# by shop\n\n" + FOOTED)
    assert shown["skipped"] == ["# by shop", ""]
    assert shown["columns_not_imported"] == ["value"]
    assert {warning["reason"] for warning in shown["warnings"]} == {
        "suspicious",
        "columns_not_imported",
        "skipped",
    }
    (said,) = (warning["text"] for warning in shown["warnings"] if warning["reason"] == "suspicious")
    assert "1 of the first 4 values would be set aside as unlike the rest: 'Total: 3'." in said
    shown = await preview(PIN)
    assert [warning["reason"] for warning in shown["warnings"]] == ["column"]
    assert not any(column["suggested"] for column in shown["columns"])


async def test_skipped_lines_may_be_given(client, upload):
    text = "codes of the shop\nyes\nA-11\nA-12\nA-13\n"
    assert figures((await upload(text, skip_lines="2", has_header="false")).json()) == (3, 3, 0, 0)


@pytest.mark.parametrize("content", [b"<html><body>Sign in</body></html>", b'{"error": "no"}', b"%PDF-1.4 x"])
async def test_what_is_no_list_is_refused_by_name_and_leaves_nothing(client, upload, content):
    refused = await upload(content)
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/unreadable-source")
    assert "not a list of codes" in refused.json()["detail"]
    assert (await client.get("/v1/imports")).json()["items"] == []
    assert (await client.get("/v1/pools/p")).status_code == 404
