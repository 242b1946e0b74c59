"""What comes with a code: imported from columns, shown wherever the code is, masked where it is."""

import pytest

from tests.factories import add_key, fill

FILE = "code;pin;worth;link\nA-1;0815;10 EUR;https://example.org/1\nA-2;'=1+1;;\nA-3;;;\n"
ALL = {"attribute_columns": "pin,worth,link"}


async def test_they_are_shown_with_the_voucher_the_assignment_and_the_message(client, engine, upload):
    done = (await upload(FILE, **ALL)).json()
    assert (done["imported"], done["columns_not_imported"]) == (3, []), done
    first = {"pin": "0815", "worth": "10 EUR", "link": "https://example.org/1"}
    assert (await client.get("/v1/vouchers/A-1")).json()["attributes"] == first
    assert (await client.get("/v1/vouchers/A-2")).json()["attributes"] == {"pin": "=1+1"}
    assert (await client.get("/v1/vouchers/A-3")).json()["attributes"] is None
    listed = (await client.get("/v1/pools/p/vouchers")).json()["items"]
    known = {item["code"]: item["attributes"] for item in listed}
    body = {"customer_id": "anna", "message_id": "m"}
    given = (await client.post("/v1/pools/p/assignments", json=body)).json()
    assert given["attributes"] == known[given["code"]]
    again = (await client.post("/v1/pools/p/assignments", json=body)).json()
    assert again["attributes"] == known[given["code"]]
    assert (await client.get(f"/v1/assignments/{given['id']}")).json()["attributes"] == known[given["code"]]
    batch = {"items": [{"message_id": "m-batch"}]}
    items = (await client.post("/v1/pools/p/assignments/batch", json=batch)).json()["items"]
    assert {item["code"]: item["attributes"] for item in items if item["code"]}.items() <= known.items()
    again = (await client.post("/v1/pools/p/assignments/batch", json=batch)).json()["items"][0]
    assert (again["status"], again["attributes"]) == ("replayed", known[again["code"]])
    template = (
        "{% set v = vouchers['p'].assign_available() %}{{ v }}|{{ v.attributes.pin }}|{{ v.expires_at }}"
        "|{{ v | upper }}|{{ v.attributes['worth'] or '-' }}"
    )
    for mode in ("preview", "send", "send"):
        message = {"template": template, "channel": "sms", "mode": mode, "customer_id": "ben"}
        reply = (await client.post("/v1/render", json=message | {"message_id": "n"})).json()
        (use,) = reply["vouchers"]
        about = known[use["code"]] or {}
        shown = [use["code"], about.get("pin", ""), "", use["code"], about.get("worth", "-")]
        assert (reply["rendered"], use.get("attributes") or {}) == ("|".join(shown), about)
    export = await client.get("/v1/pools/p/export")
    assert '"{""pin"":""0815""' in export.text
    rows = (await client.get("/v1/assignments")).json()["items"]
    assert {row["code"]: row["attributes"] for row in rows}[given["code"]] == known[given["code"]]
    await add_key(engine, "read-0123456789-0123456789-0123456789", "read")
    headers = {"Authorization": "Bearer read-0123456789-0123456789-0123456789"}
    for path in ("/v1/pools/p/vouchers", "/v1/assignments", "/v1/vouchers/A-1"):
        text = (await client.get(path, headers=headers)).text
        assert "0815" not in text
        assert "example.org" not in text
        assert "******" in text


async def test_a_message_in_html_escapes_what_comes_with_a_code(client, upload):
    await upload("code;name\nB-1;<b>\n", attribute_columns='["name"]')
    message = {"template": "{{ vouchers['p'].assign_available().attributes.name }}", "channel": "email"}
    reply = await client.post("/v1/render", json=message | {"mode": "send", "customer_id": "c"})
    assert reply.json()["rendered"] == "&lt;b&gt;"


async def test_a_json_import_names_columns_by_place_too(client, engine):
    source = {"type": "text", "text": "X-1;0815\nX-2;4711"}
    body = {"source": source, "has_header": False, "column": 0, "attribute_columns": [1]}
    reply = await client.post("/v1/pools/p/imports", json=body)
    assert reply.status_code == 202, reply.text


@pytest.mark.parametrize("columns", ["nope", "[1", ",".join(map(str, range(30)))])
async def test_columns_that_are_not_there_are_refused(upload, columns):
    assert (await upload(FILE, attribute_columns=columns)).status_code == 422


async def test_a_value_that_cannot_be_kept_is_a_reject(client, upload):
    done = (await upload(f"code;pin\nA-1;{'9' * 1001}\nA-2;1\n", attribute_columns="pin")).json()
    assert (done["imported"], done["rejected_by"]["invalid"]) == (1, 1)
    (row,) = (await client.get(f"/v1/imports/{done['id']}/rejects")).json()["items"]
    assert (row["line"], row["reason"]) == (2, "invalid_attribute")


async def test_what_was_set_aside_keeps_what_comes_with_it(client, upload):
    rows = "".join(f"CODE-{n:04};{n}\n" for n in range(40))
    done = (await upload(f"code;pin\n{rows}total 40;77\n", attribute_columns="pin")).json()
    assert done["rejected_by"]["suspicious"] == 1, done
    await client.post(f"/v1/imports/{done['id']}/accept-suspicious")
    assert (await client.get("/v1/vouchers/total 40")).json()["attributes"] == {"pin": "77"}
    assert (await client.get("/v1/vouchers/CODE-0007")).json()["attributes"] == {"pin": "7"}


async def test_a_pool_without_them_says_null(client, engine):
    await fill(engine, "q", 1)
    reply = (await client.post("/v1/pools/q/assignments", json={})).json()
    assert reply["attributes"] is None
