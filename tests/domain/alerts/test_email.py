"""Alerts by email, over a real SMTP server."""

import asyncio
from email import message_from_bytes, policy

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from app.platform.settings import Settings
from tests.factories import fill
from tests.worker import eventually, working

URL = "/v1/pools/p/alerts"


class Mailbox:
    """Keeps what it is sent, after it has refused the first one."""

    def __init__(self):
        self.refuse = 1
        self.received = []

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802  (aiosmtpd calls it so)
        if self.refuse:
            self.refuse -= 1
            return "451 try again later"
        self.received.append((envelope, message_from_bytes(envelope.content, policy=policy.default)))
        return "250 OK"


@pytest.fixture
def mailbox():
    return Mailbox()


@pytest.fixture
async def smtp_port(mailbox):
    def log_in(_server, _session, _envelope, _mechanism, data):
        return AuthResult(success=data == LoginPassword(b"us/er", b"p@ss"))

    def protocol():
        return SMTP(mailbox, authenticator=log_in, auth_required=True, auth_require_tls=False)

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


@pytest.fixture
def settings(settings, smtp_port) -> Settings:
    url = f"smtp://us%2Fer:p%40ss@127.0.0.1:{smtp_port}"
    return settings.model_validate(
        {**settings.model_dump(by_alias=True), "smtp_url": url, "email_from": "vouchers@example.com"}
    )


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # this server is on 127.0.0.1
async def test_an_email_arrives_after_the_server_had_refused_it(client, engine, settings, mailbox):
    await fill(engine, "p", 3)
    reply = await client.put(URL, json={"thresholds": [1, 0], "email": "campaigns@example.com"})
    assert reply.status_code == 200
    assert reply.json()["webhook_secret"] is None
    async with working(settings):
        await client.post("/v1/pools/p/assignments/batch", json={"items": [{}] * 2})
        await eventually(lambda: mailbox.received)
        (item,) = (await client.get(f"{URL}/deliveries")).json()["items"]
    envelope, email = mailbox.received[0]
    assert (envelope.mail_from, envelope.rcpt_tos) == ("vouchers@example.com", ["campaigns@example.com"])
    assert email["Subject"] == "Pool p runs low"
    assert "1 codes are available (threshold 1)" in email.get_content()
    assert email["Message-ID"] == f"<{item['id']}@voucher-pools>"
    assert (item["channel"], item["event"]) == ("email", "pool.low")
