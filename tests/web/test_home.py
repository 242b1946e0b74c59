"""What stands at `/`."""

import pytest


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/json", 200),
        ("application/json;q=0.9, */*;q=0.1", 200),
        ("text/html,application/json", 303),
        ("*/*", 303),
        ("", 303),
    ],
)
async def test_people_are_led_to_the_console_and_programs_get_an_index(client, accept, status):
    reply = await client.get("/", headers={"Accept": accept, "Authorization": ""})
    assert (reply.status_code, reply.headers["Vary"]) == (status, "Accept")
    if status == 303:
        assert reply.headers["Location"] == "/console/"
        return
    index = reply.json()
    assert index["api"] == "/v1"
    for path in (index["openapi"], index["docs"], *index["health"].values()):
        assert (await client.get(path, headers={"Authorization": ""})).status_code == 200
