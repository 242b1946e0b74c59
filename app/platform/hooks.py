"""Webhooks after the Standard Webhooks specification: keys, signatures, one try, and what its answer means."""

import asyncio
import random
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
from standardwebhooks import Webhook

from app.platform import outbound, tracing
from app.platform.clock import clock
from app.platform.errors import DomainError
from app.platform.reachable import objection
from app.platform.settings import Settings

TIMEOUT = 15.0
"""Seconds that a receiver may take to answer, as the specification advises."""

SECRET_BYTES = 32
PREVIOUS_SECRET_HOLDS = timedelta(days=1)
"""How long webhooks are signed with the previous secret too, so that a receiver can change over."""

DAY = 86_400.0
LONGEST_PAUSE = 3600.0
"""Seconds between two tries at the most, unless the receiver asks for more."""

SHORTEST_PAUSE = 1.0
SHORT_ANSWER, SHORT_ANSWER_SECONDS = 16_384, 1.0
"""Bytes and seconds of an answer that is passed over; what is longer ends with its connection."""
GONE = 410
FINAL = frozenset({400, 401, 403, 405, 406, 411, 413, 414, 415, 422, 431, 451, 501, 505})
"""Answers that the same request will get again. 404 is not among them: it does not say for how long (RFC 9110)."""

LOST = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
FAILURES = (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, DomainError)


@dataclass(frozen=True, slots=True)
class Tries:
    """A message that is sent until it arrives, and how that went."""

    status: str
    """`pending` while there are tries left, then `delivered` or `failed`."""
    attempts: int
    response_status: int | None
    error: str | None
    created_at: datetime
    attempted_at: datetime | None
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one try."""

    status: int | None
    """HTTP status; None where there was no answer."""
    error: str | None = None
    """Why it did not arrive; None: it did."""
    retry_after: float | None = None
    """Seconds that the receiver asks to wait."""

    @property
    def is_gone(self) -> bool:
        """Tell whether the receiver wants nothing any more."""
        return self.status == GONE

    @property
    def is_final(self) -> bool:
        """Tell whether the same message will get the same answer again."""
        return self.status in FINAL and self.retry_after is None

    def pause(self, base: float, failures: int) -> float:
        """Return the seconds until the next try.

        It is what was asked for, a day after a refusal that will not change, and else more after each failure.

        Args:
            base: seconds after the first failure.
            failures: how many failures there were before this one.
        """
        if self.retry_after is not None:
            return max(self.retry_after, SHORTEST_PAUSE)
        if self.is_final:
            return DAY
        return min(LONGEST_PAUSE, base * 2.0 ** min(failures, 30)) * jitter()


def jitter() -> float:
    """Return a factor for a pause, so that many do not come back at once."""
    return random.uniform(0.8, 1.2)  # noqa: S311  (no secret)


def new_secret() -> str:
    """Return a key as Standard Webhooks writes it."""
    return f"whsec_{b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"


def with_previous(secret: str, previous: Mapping[str, str]) -> tuple[dict[str, str], datetime]:
    """Return the keys that hold beside a new one, each with its end, and the end of the present one."""
    now = clock.now()
    until = now + PREVIOUS_SECRET_HOLDS
    return {
        **{key: end for key, end in previous.items() if end > now.isoformat()},
        secret: until.isoformat(),
    }, until


def valid_keys(secret: str | None, previous: Mapping[str, str] | None) -> list[str]:
    """Return the keys with which a webhook is signed now."""
    now = clock.now().isoformat()
    held = [key for key, until in (previous or {}).items() if until > now]
    return [key for key in (secret, *held) if key is not None]


class Sender:
    """What sends messages to one receiver, over a connection that is kept from one to the next."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._has_answered = False

    async def post(self, url: str, message_id: str, payload: str, keys: list[str]) -> Answer:
        """Send a message, which is JSON, once. No redirect is followed."""
        now = clock.now()
        headers = {
            "content-type": "application/json",
            "user-agent": "voucher-pools",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(Webhook(key).sign(message_id, now, payload) for key in keys),
        }
        try:
            with tracing.sending(httpx.URL(url).host) as traced:
                async with asyncio.timeout(TIMEOUT):
                    status, wait = await self._send(url, payload.encode(), {**headers, **traced})
        except FAILURES as error:
            return Answer(None, f"{type(error).__name__}: {error}"[:500])
        if httpx.codes.is_success(status):
            return Answer(status)
        return Answer(status, f"answered {status}", _seconds(wait))

    async def _send(self, url: str, body: bytes, headers: dict[str, str]) -> tuple[int, str | None]:
        """Return the status of the answer, and its `Retry-After`.

        A receiver may close a connection that was kept, and not have read what was sent meanwhile.
        """
        try:
            answer = await self._try(url, body, headers)
        except LOST:
            if not self._has_answered:
                raise
            answer = await self._try(url, body, headers)
        self._has_answered = True
        return answer

    async def _try(self, url: str, body: bytes, headers: dict[str, str]) -> tuple[int, str | None]:
        async with self._client.stream(
            "POST", url, content=body, headers=headers, follow_redirects=False
        ) as response:
            await _end(response)
            return response.status_code, response.headers.get("retry-after")


@asynccontextmanager
async def sender(settings: Settings) -> AsyncIterator[Sender]:
    """Give a sender for one receiver; its connection is closed when the block ends."""
    async with outbound.http_client(settings, timeout=TIMEOUT, keep=True) as client:
        yield Sender(client)


async def post(settings: Settings, url: str, message_id: str, payload: str, keys: list[str]) -> Answer:
    """Send one message to a receiver, once."""
    async with sender(settings) as receiver:
        return await receiver.post(url, message_id, payload, keys)


async def _end(response: httpx.Response) -> None:
    """Pass over the body of a short answer, for only then the connection can be used again."""
    length = response.headers.get("content-length", "")
    if response.status_code == httpx.codes.NO_CONTENT or (length.isdigit() and int(length) <= SHORT_ANSWER):
        with suppress(httpx.HTTPError, TimeoutError):
            async with asyncio.timeout(SHORT_ANSWER_SECONDS):
                async for _ in response.aiter_raw():
                    pass


def _seconds(wait: str | None) -> float | None:
    """Return what `Retry-After` says, in seconds or as a time; a day at the most."""
    if wait is None:
        return None
    try:
        seconds = (
            float(wait)
            if wait.strip().isdigit()
            else (parsedate_to_datetime(wait) - clock.now()).total_seconds()
        )
    except (TypeError, ValueError):  # what is not a time, or one without a zone
        return None
    return min(max(seconds, 0.0), DAY)


async def refusal(settings: Settings, url: str) -> str | None:
    """Return why a URL can never be called; None: it may be. A name that is not known now may be later."""
    try:
        parts = httpx.Request("POST", url).url
    except (httpx.InvalidURL, ValueError) as error:
        return str(error)
    if not parts.host:
        return "it names no host"
    return await objection(settings, parts.host, parts.port or (443 if parts.scheme == "https" else 80))
