import pytest

from tests.domain.imports.imported import codes, figures, rejects
from tests.factories import add_key


async def test_a_file_becomes_vouchers(client, upload):
    reply = await upload("code\nA-1\nA-2\nA-3\n")
    assert reply.status_code == 200, reply.text
    done = reply.json()
    assert done["status"] == "succeeded", done
    assert figures(done) == (3, 3, 0, 0)
    assert done["progress"] == 1
    assert reply.headers["location"] == f"/v1/imports/{done['id']}"
    assert (await client.get(reply.headers["location"])).json() == done
    assert (await client.get("/v1/pools/p/counts")).json()["available"] == 3


async def test_without_prefer_the_reply_is_202_and_the_rows_are_safe(client):
    reply = await client.post("/v1/pools/p/imports", files={"file": ("c.csv", b"code\nA1\n")})
    assert reply.status_code == 202
    assert reply.json()["status"] == "queued"


async def test_twice_in_the_file_or_in_this_pool_is_ignored(client, upload):
    assert figures((await upload("code\nA1\nA2\nA1\nA1\n")).json()) == (4, 2, 2, 0)
    assert figures((await upload("code\nA2\nA3\n")).json()) == (2, 1, 1, 0)
    assert await codes(client) == {"A1", "A2", "A3"}


async def test_a_code_of_another_pool_is_rejected_with_that_pool_and_its_line(client, upload):
    await upload("code\nA1\nA2\n", pool="first")
    done = (await upload("code\nB1\nA1\nB2\nA1\n", pool="second")).json()
    assert figures(done) == (4, 2, 0, 2)
    assert done["rejected_by"] == {"in_other_pool": 2, "invalid": 0, "suspicious": 0}
    assert await rejects(client, done) == [
        {"line": 3, "value": "A1", "reason": "in_other_pool", "other_pool": "first"},
        {"line": 5, "value": "A1", "reason": "in_other_pool", "other_pool": "first"},
    ]
    assert (await client.get("/v1/pools/first/counts")).json()["total"] == 2


async def test_invalid_rows_are_rejected_line_by_line_and_the_others_imported(client, upload):
    long = "L" * 300
    done = (
        await upload(
            f'id,code\n1,GOOD-1\n2,{long}\n3,"A\tB"\n4,\n\n5,GOOD-2\n6\n7,"X\nY"\n8,GOOD-3\n9,N\x00L\n',
            column="code",
        )
    ).json()
    assert figures(done) == (9, 3, 0, 6)
    assert [(item["line"], item["reason"]) for item in await rejects(client, done)] == [
        (3, "too_long"),
        (4, "control_character"),
        (5, "empty"),
        (8, "too_few_columns"),
        (9, "control_character"),
        (12, "control_character"),
    ]
    assert (await rejects(client, done))[0]["value"] == long
    assert await codes(client) == {"GOOD-1", "GOOD-2", "GOOD-3"}


@pytest.mark.parametrize(
    "code",
    ["a\\b", "\\N", "\\.", "ä ö", "x" * 255, "quo''te", "50%", "日本", "=1+1", "\U0001f600"],
)
async def test_a_code_is_kept_as_it_is(client, upload, code):
    assert figures((await upload(f"code\n \t{code} \u2003\n")).json()) == (1, 1, 0, 0)
    assert await codes(client) == {code}


async def test_rejects_are_listed_page_by_page_and_as_csv(client, upload):
    done = (await upload("code\nok-1\n" + '""\n' * 5 + "=BAD\tX\n", delimiter=";")).json()
    url = f"/v1/imports/{done['id']}/rejects"
    seen, cursor = [], None
    while True:
        page = (await client.get(url, params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        seen += [item["line"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [3, 4, 5, 6, 7, 8]
    lines = (await client.get(url, headers={"Accept": "text/csv"})).text.split("\r\n")
    assert lines[:2] == ["line,value,reason,other_pool", "3,,empty,"]
    assert lines[6] == "8,'=BAD\tX,control_character,"


async def test_no_spreadsheet_runs_the_name_of_a_pool_in_rejects_as_csv(client, upload):
    await upload("code\nA1\n", pool="=1+1")
    done = (await upload("code\nA1\n")).json()
    csv = await client.get(f"/v1/imports/{done['id']}/rejects", headers={"Accept": "text/csv"})
    assert csv.text == "line,value,reason,other_pool\r\n2,A1,in_other_pool,'=1+1\r\n"


async def test_a_dry_run_reports_the_same_and_writes_no_voucher(client, upload):
    await upload("code\nA1\n", pool="first")
    await upload("code\nB1\n")
    text = "code\nA1\nB1\nB2\nB2\nB3\n" + "x" * 256 + "\n"
    dry = (await upload(text, dry_run="true")).json()
    assert figures(dry) == (6, 2, 2, 2)
    assert await codes(client) == {"B1"}
    wet = (await upload(text)).json()
    assert figures(wet) == figures(dry)
    assert await rejects(client, wet) == await rejects(client, dry)


async def test_a_dry_run_makes_no_pool(client, upload):
    assert figures((await upload("code\nA1\n", dry_run="true")).json()) == (1, 1, 0, 0)
    assert (await client.get("/v1/pools/p")).status_code == 404


async def test_an_undo_takes_back_what_is_available_and_says_what_it_could_not(client, upload):
    done = (await upload("code\nA1\nA2\nA3\n")).json()
    await upload("code\nB1\n")
    await client.post("/v1/pools/p/assignments", json={})
    undone = (await client.post(f"/v1/imports/{done['id']}/undo")).json()
    assert undone["taken_back"] + undone["kept"] == 3
    assert undone["kept"] in {0, 1}
    counts = (await client.get("/v1/pools/p/counts")).json()
    assert (counts["total"], counts["assigned"]) == (4 - undone["taken_back"], 1)
    assert (await client.post(f"/v1/imports/{done['id']}/undo")).json() == {
        "taken_back": 0,
        "kept": undone["kept"],
        "kept_for_holds": 0,
        "paused_schedule": None,
    }
    assert (await client.get(f"/v1/imports/{done['id']}")).json()["undone"] == undone["taken_back"]


async def test_an_import_under_way_cannot_be_undone(client):
    made = await client.post("/v1/pools/p/imports", files={"file": ("c.csv", b"code\nA1\n")})
    reply = await client.post(f"/v1/imports/{made.json()['id']}/undo")
    assert reply.status_code == 409
    assert reply.json()["type"] == "/problems/import-not-finished"


async def test_the_same_file_again_is_shown_as_such_and_imports_nothing_new(client, upload):
    first = (await upload("code\nA1\nA2\n")).json()
    again = (await upload("code\nA1\nA2\n", name="renamed.csv")).json()
    assert (first["repeats"], again["repeats"]) == (None, first["id"])
    assert first["sha256"] == again["sha256"]
    assert figures(again) == (2, 0, 2, 0)
    assert (await upload("code\nA1\nA2\n", pool="other")).json()["repeats"] is None


async def test_expiry_comes_with_the_row_or_for_all(client, upload):
    text = "code;until\nA1;2099-01-31\nA2;2099-05-01T12:00:00+02:00\nA3;\nA4;soon\n"
    done = (await upload(text, expires_at_column="until", expires_at="2098-01-01T00:00:00Z")).json()
    assert figures(done) == (4, 3, 0, 1)
    listed = (await client.get("/v1/pools/p/vouchers")).json()["items"]
    assert {item["code"]: item["expires_at"] for item in listed} == {
        "A1": "2099-02-01T00:00:00Z",
        "A2": "2099-05-01T10:00:00Z",
        "A3": "2098-01-01T00:00:00Z",
    }
    assert await rejects(client, done) == [
        {"line": 5, "value": "soon", "reason": "invalid_expires_at", "other_pool": None}
    ]


async def test_of_a_code_that_is_there_twice_the_first_row_counts(client, upload):
    rows = [f"A{n};20{year}-01-01" for year in (98, 97, 99) for n in range(300)]
    done = (await upload("\n".join(["code;until", *rows]), expires_at_column="until")).json()
    assert figures(done) == (900, 300, 600, 0)
    listed = (await client.get("/v1/pools/p/vouchers?limit=1000")).json()["items"]
    assert {item["expires_at"][:4] for item in listed} == {"2098"}


async def test_progress_is_told_as_events_until_the_end(client, upload):
    done = (await upload("code\n" + "\n".join(f"A{n}" for n in range(500)))).json()
    told = await client.get(f"/v1/imports/{done['id']}/progress")
    assert told.headers["content-type"].startswith("text/event-stream")
    assert '"progress":1.0' in told.text
    last = told.text.rstrip().split("\n\n")[-1].split("\n")
    assert (last[0], last[1][:4]) == ("event: end", "id: ")
    back = await client.get(f"/v1/imports/{done['id']}/progress", headers={"Last-Event-ID": last[1][4:]})
    assert (back.status_code, back.content) == (204, b"")
    elsewhere = await client.get(f"/v1/imports/{done['id']}/progress", headers={"Last-Event-ID": "older"})
    assert elsewhere.text.endswith(told.text.rstrip().split("\n\n")[-1] + "\n\n")
    assert (await client.get("/v1/imports/00000000-0000-0000-0000-000000000000/progress")).status_code == 404


async def test_imports_are_listed_the_newest_first(client, upload):
    ids = [(await upload(f"code\nA{n}\n")).json()["id"] for n in range(3)]
    page = (await client.get("/v1/imports", params={"pool": "p", "limit": 2})).json()
    rest = (await client.get("/v1/imports", params={"limit": 2, "cursor": page["next_cursor"]})).json()
    assert [item["id"] for item in page["items"] + rest["items"]] == ids[::-1]


async def test_a_key_that_may_only_read_sees_imports_with_values_masked(client, engine, upload):
    await add_key(engine, "r" * 40, "read")
    done = (await upload("code\n" + "S" * 300 + "\nok-1\n")).json()
    reader = {"Authorization": "Bearer " + "r" * 40}
    seen = await client.get(f"/v1/imports/{done['id']}/rejects", headers=reader)
    assert seen.json()["items"][0]["value"] == "SS******"
    refused = await client.post("/v1/pools/p/imports", files={"file": ("c", b"x")}, headers=reader)
    assert refused.status_code == 403


async def test_who_imported_and_who_undid_is_in_the_audit(client, upload):
    done = (await upload("code\nA1\n")).json()
    await client.post(f"/v1/imports/{done['id']}/undo")
    entries = (await client.get("/v1/audit")).json()["items"]
    assert [entry["action"] for entry in entries] == ["import.undone", "import.created"]
    assert {entry["pool"] for entry in entries} == {"p"}
