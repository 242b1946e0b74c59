"""A message as an email."""

from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import unquote, urlsplit

import aiosmtplib

from app.domain.alerts.deliveries.queries import Pending
from app.platform.settings import Settings

TIMEOUT = 30.0
"""Seconds for each step of the conversation with the server."""

WORDS = {
    "pool.low": (
        "Pool {pool} runs low",
        "{available} codes are left that anybody may draw (threshold {threshold}).",
    ),
    "pool.exhausted": ("Pool {pool} is exhausted", "no code is left that anybody may draw."),
    "pool.expiring_soon": (
        "Pool {pool}",
        "{expiring} available codes expire within {within_days} days, the first at {first_expires_at}.",
    ),
    "schedule.failed": ("The import schedule of pool {pool} failed", "{error}"),
    "pool.test": ("Pool {pool}", "this is a test. {available} codes are left that anybody may draw."),
}
"""By event the subject, and what follows it in the text."""


async def send(settings: Settings, message: Pending) -> None:
    """Hand a message to the mail server, over TLS unless `VOUCHERS_SMTP_PLAINTEXT` permits otherwise."""
    if settings.smtp_url is None or settings.email_from is None:
        raise aiosmtplib.SMTPException(f"{settings.why_no_email} any more")
    server = urlsplit(settings.smtp_url.get_secret_value())
    await aiosmtplib.send(
        compose(settings, message),
        hostname=server.hostname,
        port=server.port,
        username=unquote(server.username) if server.username else None,
        password=unquote(server.password) if server.password else None,
        # Always said: else the library goes on in clear text where no TLS is offered. The certificate is checked
        # against the server's name, also with the setting that permits clear text.
        use_tls=server.scheme == "smtps",
        start_tls=_start_tls(settings, server.scheme),
        validate_certs=True,
        timeout=TIMEOUT,
    )


def _start_tls(settings: Settings, scheme: str) -> bool | None:
    """Return whether TLS begins within the connection; None: where the server offers it."""
    if scheme == "smtps":
        return False
    return None if settings.smtp_plaintext else True


def compose(settings: Settings, message: Pending) -> EmailMessage:  # type: ignore[explicit-any]  # of its policy
    """Return the email; a repeat bears the same `Message-ID`, by which mailboxes know it for one."""
    subject, rest = (words.format(**message.payload["data"]) for words in WORDS[message.payload["type"]])
    email = EmailMessage()
    email["From"] = settings.email_from
    email["To"] = message.destination
    # A name may look like an encoded word (RFC 2047), which the library would decode, line breaks and all.
    email["Subject"] = subject.replace("=?", "= ?")
    email["Date"] = format_datetime(message.created_at)
    email["Message-ID"] = f"<{message.id}@voucher-pools>"
    email["Auto-Submitted"] = "auto-generated"
    email.set_content(f"{subject}: {rest}\n\nIt happened at {message.payload['timestamp']}.\n")
    return email
