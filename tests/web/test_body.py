"""How much a request may bring. More is a problem like any other, whether its length is announced or not."""

import pytest

from app.platform.settings import Settings


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(
        DATABASE_URL=database_url,
        log_level="ERROR",
        key_cache_seconds=0,
        max_body_bytes=1000,
        max_upload_bytes=5000,
    )


async def pieces(content):
    for start in range(0, len(content), 100):
        yield content[start : start + 100]


@pytest.mark.parametrize("piecemeal", [False, True])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "/v1/customers/c"),
        ("POST", "/v1/pools/p/assignments/batch"),
        ("POST", "/v1/pools/p/imports"),
        ("POST", "/v1/imports/preview"),
    ],
)
async def test_json_beyond_the_limit_is_a_problem(client, method, path, piecemeal):
    content = b'{"properties": {"a": "' + b"x" * 1000 + b'"}}'
    headers = {"Content-Type": "application/json"}
    sent = pieces(content) if piecemeal else content
    reply = await client.request(method, path, content=sent, headers=headers)
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert (reply.status_code, problem["type"], problem["limit"]) == (
        413,
        "/problems/payload-too-large",
        1000,
    )


@pytest.mark.parametrize(
    ("path", "done"),
    [("/v1/pools/p/imports", 202), ("/v1/imports/preview", 200), ("/v1/customers/imports", 200)],
)
async def test_a_file_may_be_larger_than_json(client, path, done):
    def file(rows):
        return {"file": ("c.csv", b"customer_id\n" + b"".join(b"C-%07d\n" % n for n in range(rows)))}

    assert (await client.post(path, files=file(200))).status_code == done
    reply = await client.post(path, files=file(1000))
    assert (reply.status_code, reply.json()["type"]) == (413, "/problems/payload-too-large")
    assert reply.json()["limit"] == 5000


@pytest.mark.parametrize("path", ["/v1/pools/p/imports", "/v1/imports/preview", "/v1/customers/imports"])
async def test_a_form_that_cannot_be_read_is_refused_with_what_and_where(client, path):
    headers = {"Content-Type": "multipart/form-data"}
    reply = await client.post(path, content=b"no form", headers=headers)
    problem = reply.json()
    assert (reply.status_code, problem["type"]) == (422, "/problems/invalid-request")
    assert problem["errors"] == [{"loc": ["body"], "msg": problem["detail"]}]
    assert problem["detail"].startswith("The form cannot be read: ")


@pytest.mark.parametrize("path", ["/v1/pools/p/imports", "/v1/imports/preview", "/v1/customers/imports"])
async def test_a_field_of_a_form_that_is_given_twice_is_refused(client, path):
    file = {"file": ("c.csv", b"code,pin,value\nC-1,2,3\n")}
    reply = await client.post(path, files=file, data={"attribute_columns": ["pin", "value"]})
    assert (reply.status_code, reply.json()["errors"]) == (
        422,
        [
            {
                "loc": ["body", "attribute_columns"],
                "msg": "it is given more than once, and only one of them would count",
            }
        ],
    )
