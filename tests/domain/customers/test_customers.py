import gzip

import pytest

from tests.domain.imports.packed import spreadsheet
from tests.factories import add_key

URL = "/v1/customers/c1"


async def test_properties_are_set_one_by_one_and_null_takes_one_away(client):
    assert (await client.get(URL)).json()["type"] == "/problems/customer-not-found"
    await client.patch(URL, json={"properties": {"a": 1, "b": {"x": [1, None]}, "gone": None}})
    reply = await client.patch(URL, json={"properties": {"a": None, "c": "ü"}})
    assert reply.status_code == 200
    assert reply.json()["properties"] == {"b": {"x": [1, None]}, "c": "ü"}
    assert (await client.get(URL)).json() == reply.json()


async def test_keys_like_dunders_are_kept_as_data(client):
    await client.patch(URL, json={"properties": {"__class__": "x", "__proto__": 1}})
    assert (await client.get(URL)).json()["properties"] == {"__class__": "x", "__proto__": 1}
    body = {"template": "{{ customer.__class__ }}", "channel": "sms", "customer_id": "c1"}
    assert (await client.post("/v1/render", json=body)).json()["rendered"] == "x"


@pytest.mark.parametrize("properties", [[], "x", {"a": "\0"}, {"a\0": 1}, None])
async def test_what_cannot_be_kept_is_refused(client, properties):
    reply = await client.patch(URL, json={"properties": properties})
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["loc"] == ["body", "properties"]
    assert (await client.get(URL)).status_code == 404


async def test_customers_need_the_scope(client, engine):
    await add_key(engine, "k" * 32, "pools", "assign", "read")
    reply = await client.get(URL, headers={"Authorization": f"Bearer {'k' * 32}"})
    assert reply.status_code == 403


async def send(client, content, **fields):
    return await client.post(
        "/v1/customers/imports",
        files={"file": ("customers.csv", content.encode() if isinstance(content, str) else content)},
        data=fields,
    )


async def test_a_file_sets_properties_and_tells_of_each_line_that_it_could_not_take(client):
    await client.patch(URL, json={"properties": {"voucher": "OLD", "kept": True}})
    content = (
        "\ufeffname,customer_id,voucher\r\n"
        'Ada,c1,"A-1"\r\n'
        "Bob,c2\r\n"
        ",,X\r\n"
        "\r\n"
        '"two\nlines",c3,B-2\r\n'
        "Eve,c4,\r\n"
        "\0,c5,C-3\r\n"
        "Ada L.,c1,\r\n"
    )
    figures = (await send(client, content)).json()
    assert figures == {
        "rows": 7,
        "imported": 4,
        "rejected": 3,
        "rejects": [
            {"line": 3, "reason": "has 2 cells, the header has 3"},
            {"line": 4, "reason": "the id has 1 to 255 characters, none of them NUL"},
            {"line": 9, "reason": figures["rejects"][2]["reason"]},
        ],
    }
    assert "NUL" in figures["rejects"][2]["reason"]
    read = {}
    for customer in ("c1", "c3", "c4"):
        read[customer] = (await client.get(f"/v1/customers/{customer}")).json()["properties"]
    assert read == {
        "c1": {"voucher": "A-1", "kept": True, "name": "Ada L."},
        "c3": {"name": "two\nlines", "voucher": "B-2"},
        "c4": {"name": "Eve"},
    }


async def test_the_id_column_and_the_delimiter_may_be_given(client):
    reply = await send(client, "v;who\nx;c7\n", id_column="who", delimiter=";")
    assert reply.json()["imported"] == 1
    assert (await client.get("/v1/customers/c7")).json()["properties"] == {"v": "x"}


async def test_an_id_is_read_without_the_marks_of_spreadsheets_and_not_where_one_has_rounded_it(client):
    reply = await send(client, 'id,n\n\'+49151,1\n="00042",2\nc8\u200b,3\n1.23457E+15,1.5E+15\n')
    assert reply.json()["imported"] == 3
    (reject,) = reply.json()["rejects"]
    assert (reject["line"], "'id': a spreadsheet keeps 15 digits" in reject["reason"]) == (5, True)
    for customer, n in (("%2B49151", "1"), ("00042", "2"), ("c8", "3")):
        assert (await client.get(f"/v1/customers/{customer}")).json()["properties"] == {"n": n}


async def test_a_large_file_is_loaded_in_batches(client):
    lines = "".join(f"c{n % 4000},{n}\n" for n in range(5000))
    assert (await send(client, f"id,n\n{lines}")).json()["imported"] == 5000
    assert (await client.get("/v1/customers/c999")).json()["properties"] == {"n": "4999"}


@pytest.mark.parametrize(
    ("content", "fields", "says"),
    [
        ("a,b\n1,2\n", {"id_column": "c"}, "no column 'c'; it has 'a', 'b'"),
        ("a,a\n1,2\n", {}, "same name"),
        ("a,,c\n1,2,3\n", {}, "name every column"),
    ],
)
async def test_a_file_without_the_columns_changes_nothing(client, content, fields, says):
    reply = await send(client, content, **fields)
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/invalid-request")
    assert says in reply.json()["detail"]
    assert (await client.get(URL)).status_code == 404


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "empty"),
        (b"id,n\nc1,\xc3\xa4\nc2,\xff\n", "not in utf-8"),
        ('id,n\nc1,"open\n', "never closed"),
        ("<!doctype html><html>", "an HTML page"),
    ],
)
async def test_a_file_that_cannot_be_read_changes_nothing(client, content, says):
    reply = await send(client, content)
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/unreadable-source")
    assert says in reply.json()["detail"]
    assert (await client.get("/v1/customers/c1")).status_code == 404


async def test_a_file_that_fails_far_from_its_beginning_is_taken_up_to_there_and_says_so(client):
    rows = "id,n\n" + "".join(f"c{n % 100},x\n" for n in range(2500))
    reply = await send(client, rows + 'late,"open\n')
    assert (reply.status_code, "never closed" in reply.json()["detail"]) == (422, True)
    remedy = (await client.get(reply.json()["type"])).json()["remedy"]
    assert "of a file of customers the part before that place may be" in remedy
    assert (await client.get(URL)).json()["properties"] == {"n": "x"}
    assert (await client.get("/v1/customers/late")).status_code == 404
    assert (await send(client, rows)).json()["imported"] == 2500


@pytest.mark.parametrize(
    "content",
    [
        "id;voucher;name\nc1;A-1;Zoë\n".encode("cp1252"),
        "id\tvoucher\tname\nc1\tA-1\tZoë\n".encode("utf-16"),
        gzip.compress("id,voucher,name\nc1,A-1,Zoë\n".encode(), mtime=0),
        "sep=;\nid;voucher;name\nc1;A-1;Zoë\n".encode(),
        "# customers\n\nid;voucher;name;;\nc1;A-1;Zoë;;\n".encode(),
        spreadsheet(["id", "voucher", "name"], ["c1", "A-1", "Zoë"]),
    ],
    ids=["cp1252", "utf-16", "gzip", "sep", "comments and empty columns", "xlsx"],
)
async def test_the_reader_of_the_voucher_imports_reads_customers_too(client, content):
    figures = (await send(client, content)).json()
    assert (figures["rows"], figures["imported"]) == (1, 1), figures
    read = (await client.get("/v1/customers/c1")).json()["properties"]
    assert read == {"voucher": "A-1", "name": "Zoë"}
