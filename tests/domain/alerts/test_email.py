"""Alerts by email, over a real SMTP server."""

import asyncio
import ssl
import uuid
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from types import SimpleNamespace

import aiosmtplib
import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr, TypeAdapter

from app.domain.alerts.deliveries import emails
from app.domain.pools.schemas import PoolName
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
        {
            **settings.model_dump(by_alias=True),
            "smtp_url": url,
            "email_from": "vouchers@example.com",
            "smtp_plaintext": True,
        }
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
    assert "1 codes are left that anybody may draw (threshold 1)" in email.get_content()
    assert email["Message-ID"] == f"<{item['id']}@voucher-pools>"
    assert (item["channel"], item["event"]) == ("email", "pool.low")


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # this server is on 127.0.0.1
async def test_each_of_several_addresses_gets_an_email_of_its_own(client, engine, settings, mailbox):
    await fill(engine, "p", 3)
    both = ["campaigns@example.com", "shop@example.com"]
    for wrong in ([], ["a@b"] * 2, ["no address"], [f"a{n}@example.com" for n in range(21)]):
        reply = await client.put(URL, json={"thresholds": [1], "emails": wrong})
        assert reply.status_code == 422, reply.text
    reply = await client.put(URL, json={"thresholds": [1], "email": both[0], "emails": both})
    assert reply.status_code == 422
    reply = await client.put(URL, json={"thresholds": [1, 0], "emails": ["mistyped@example.com", both[1]]})
    assert (reply.json()["email"], reply.json()["emails"][1]) == ("mistyped@example.com", both[1])
    old = reply.headers["ETag"]
    await client.post(f"{URL}/test")
    # What waits goes where the alert points now: the one that was set right receives it, the other its own.
    fixed = await client.put(URL, json={"thresholds": [1, 0], "emails": both}, headers={"If-Match": old})
    assert fixed.status_code == 200
    assert fixed.headers["ETag"] != old
    async with working(settings):
        await eventually(lambda: len(mailbox.received) == 2)
        items = (await client.get(f"{URL}/deliveries")).json()["items"]
    assert sorted(envelope.rcpt_tos[0] for envelope, _ in mailbox.received) == both
    assert sorted(item["destination"] for item in items) == both


async def test_a_message_to_an_address_that_no_email_can_bear_has_failed(client, engine, settings, mailbox):
    await fill(engine, "p", 3)
    encoded = "=?utf-8?q?x=0D=0A?=@example.com"
    assert (await client.put(URL, json={"thresholds": [1], "email": encoded})).status_code == 200
    await client.post(f"{URL}/test")
    async with working(settings):

        async def failed():
            (item,) = (await client.get(f"{URL}/deliveries")).json()["items"]
            return item["status"] == "failed" and item

        item = await eventually(failed)
    assert item["error"].startswith("ValueError: ")
    assert not mailbox.received


def server_context(tmp_path, name):
    """Return the TLS side of a server whose certificate bears a name and is signed by nobody known."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "server.pem").write_bytes(private + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    return context


@asynccontextmanager
async def listening(tls=None, *, from_the_start=False):
    """An SMTP server that writes down what it hears."""
    said, passwords = [], []

    class Listens(SMTP):
        async def smtp_EHLO(self, hostname):  # noqa: N802
            said.append("EHLO")
            return await super().smtp_EHLO(hostname)

        async def smtp_AUTH(self, arg):  # noqa: N802
            said.append(f"AUTH {arg}")
            return await super().smtp_AUTH(arg)

        async def smtp_MAIL(self, arg):  # noqa: N802
            said.append(f"MAIL {arg}")
            return await super().smtp_MAIL(arg)

    def log_in(_server, _session, _envelope, _mechanism, data):
        passwords.append(data)
        return AuthResult(success=True)

    mailbox = Mailbox()
    mailbox.refuse = 0

    def protocol():
        return Listens(
            mailbox,
            authenticator=log_in,
            auth_require_tls=False,
            tls_context=None if from_the_start else tls,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=tls if from_the_start else None)
    try:
        yield server.sockets[0].getsockname()[1], said, passwords, mailbox
    finally:
        server.close()


def one_message(pool="p"):
    return SimpleNamespace(
        id=uuid.uuid4(),
        destination="campaigns@example.com",
        created_at=datetime.now(UTC),
        payload={
            "type": "pool.exhausted",
            "timestamp": "2026-01-01T00:00:00+00:00",
            "data": {"pool": pool},
        },
    )


@pytest.mark.parametrize(
    "name",
    [
        "spring:2026",
        "夏:Ü",
        "ü" * 100,
        "a:" * 50,
        "=?utf-8?q?a=0D=0ABcc=3Ax=40y.z?=",
        "=?utf-8?b?DQoNClNlbmQgbWUgbW9uZXk=?=",
    ],
)
def test_a_pool_is_named_whole_in_the_subject_and_adds_no_header(name):
    def composed(pool):
        email = emails.compose(SimpleNamespace(email_from="v@example.com"), one_message(pool))
        return message_from_bytes(email.as_bytes(policy=policy.SMTP), policy=policy.default)

    assert TypeAdapter(PoolName).validate_python(name) == name
    email = composed(name)
    assert email["Subject"] == f"Pool {name} is exhausted".replace("=?", "= ?")
    assert email.get_content().startswith(f"Pool {name} is exhausted: no code is left that anybody may draw.")
    assert email.keys() == composed("p").keys()


def to_server(settings, scheme, port, **changes):
    url = f"{scheme}://user:s3cret@127.0.0.1:{port}"
    return settings.model_copy(
        update={"smtp_url": SecretStr(url), "email_from": "v@example.com", "smtp_plaintext": False, **changes}
    )


LACKING = {
    "VOUCHERS_SMTP_URL is not set": {"smtp_url": None},
    "VOUCHERS_EMAIL_FROM is not set": {"email_from": None},
    "VOUCHERS_SMTP_URL and VOUCHERS_EMAIL_FROM are not set": {"smtp_url": None, "email_from": None},
}


@pytest.mark.parametrize("says", LACKING)
async def test_what_emails_lack_is_named(client, engine, settings, says):
    await fill(engine, "p", 5)
    for name, value in LACKING[says].items():
        setattr(settings, name, value)
    reply = await client.put(URL, json={"thresholds": [5], "email": "a@example.com"})
    assert reply.json()["errors"][0]["msg"] == f"this service sends no email: {says}"
    with pytest.raises(aiosmtplib.SMTPException, match=f"^{says} any more$"):
        await emails.send(settings, one_message())


async def test_no_password_and_no_email_go_to_a_server_without_tls(settings):
    """A server that offers no STARTTLS looks the same as one whose offer somebody on the way has cut out."""
    async with listening() as (port, said, passwords, mailbox):
        with pytest.raises(aiosmtplib.SMTPException):
            await emails.send(to_server(settings, "smtp", port), one_message())
        assert passwords == []
        assert mailbox.received == []
        assert not any(line.startswith(("AUTH", "MAIL")) for line in said)


@pytest.mark.parametrize("from_the_start", [True, False])
@pytest.mark.parametrize("plaintext", [True, False])
async def test_a_certificate_that_nobody_vouches_for_is_refused(
    settings, tmp_path, from_the_start, plaintext
):
    tls = server_context(tmp_path, "smtp.test")
    async with listening(tls, from_the_start=from_the_start) as (port, _, passwords, mailbox):
        scheme = "smtps" if from_the_start else "smtp"
        with pytest.raises((aiosmtplib.SMTPException, ssl.SSLError)):
            await emails.send(to_server(settings, scheme, port, smtp_plaintext=plaintext), one_message())
        assert passwords == []
        assert mailbox.received == []


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
async def test_clear_text_is_used_where_a_setting_says_so(settings):
    async with listening() as (port, _, passwords, mailbox):
        await emails.send(to_server(settings, "smtp", port, smtp_plaintext=True), one_message())
        assert len(passwords) == len(mailbox.received) == 1
