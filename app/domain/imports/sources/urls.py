"""URLs of sources, read in one way only.

Programs read odd URLs differently: where one sees a password, the next sees a host. What is masked, what a secret is
bound to, what is checked and what is connected to must be the same, so a URL that is not plain is refused.
"""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, unquote_plus

_PLAIN = re.compile(
    r"""
    (?P<scheme>[A-Za-z][A-Za-z0-9+._-]*)://
    (?:(?P<user>(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)
       (?P<password>:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*)?@)?
    (?P<host>\[[0-9A-Fa-f:.]+\]|[^\x00-\x20/?\#@:\[\]\\%,<>"{}|^`]*)
    (?P<port>:[0-9]{1,5})?
    (?P<path>/[^?\#\x00-\x20]*)?
    (?P<query>\?[^\#\x00-\x20]*)?
    (?P<fragment>\#[^\x00-\x20]*)?
    """,
    re.VERBOSE,
)
_NO_AUTHORITY = {"file"}


@dataclass(frozen=True)
class SourceUrl:
    """The parts of a URL, as they are written; `password` and `port` are None where they are left out."""

    scheme: str
    user: str | None
    password: str | None
    host: str
    port: str | None
    path: str
    query: str | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URL.

        Raises:
            ValueError: it is none, or two programs could read it in two ways.
        """
        scheme, _, rest = text.partition(":")
        if scheme.lower() in _NO_AUTHORITY and not re.match(r"//[^/]", rest):
            return cls("file", None, None, "", None, rest, None)
        found = _PLAIN.fullmatch(text)
        if found is None:
            raise ValueError(
                "the URL is not valid: it has the form scheme://user:password@host/path, and what is special in a"
                " user name or password is percent-encoded (@ as %40, / as %2F, ? as %3F, # as %23, % as %25)"
            )
        port, password = found["port"], found["password"]
        if port is not None and not 0 < int(port[1:]) <= 65535:  # noqa: PLR2004
            raise ValueError("the port of the URL is none")
        return cls(
            found["scheme"].lower(),
            found["user"],
            password[1:] if password is not None else None,
            found["host"].strip("[]").lower(),
            port[1:] if port else None,
            found["path"] or "",
            found["query"][1:] if found["query"] else None,
        )

    def places_of_secrets(self) -> list[str]:
        """Return the texts of the URL in which a secret may stand."""
        return [self.password or "", *(value for _, _, value in self._pairs())]

    def secrets(self) -> set[str]:
        """Return what must not be told: user name, password and query values, as written and as meant."""
        values = [self.password or "", *(value or name for name, _, value in self._pairs())]
        if self.password is None or not self.password:
            values.append(self.user or "")  # a token as user name
        return {form for value in values for form in (value, unquote(value), unquote_plus(value)) if form}

    def masked(self, hidden: str, harmless: re.Pattern[str]) -> str:
        """Return the URL with user-info and query values hidden, but for what is harmless; without its fragment."""

        def hide(text: str) -> str:
            return text if not text or harmless.fullmatch(text) else hidden

        user = "" if self.user is None else hide(self.user)
        if self.password is not None:
            user += f":{hide(self.password)}"
        if self.user is not None:
            user += "@"
        pairs = [f"{name}={hide(value)}" if equal else hide(name) for name, equal, value in self._pairs()]
        query = "" if self.query is None else "?" + "&".join(pairs)
        if self.scheme in _NO_AUTHORITY:
            return f"{self.scheme}:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        return f"{self.scheme}://{user}{host}{port}{self.path}{query}"

    def _pairs(self) -> list[tuple[str, str, str]]:
        return [part.partition("=") for part in self.query.split("&")] if self.query else []
