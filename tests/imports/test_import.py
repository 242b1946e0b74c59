async def test_a_file_becomes_vouchers(client, upload):
    reply = await upload("code\nA-1\nA-2\nA-3\n")
    assert reply.status_code == 200, reply.text
    done = reply.json()
    assert done["status"] == "succeeded", done
    assert (done["rows"], done["imported"]) == (3, 3)
    assert (await client.get("/v1/pools/p/counts")).json()["available"] == 3
