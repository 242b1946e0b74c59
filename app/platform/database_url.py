"""Read the URL of a database in every spelling: libpq's, SQLAlchemy's, and libpq's pairs; one host or several."""

import asyncio
import ipaddress
import socket
from urllib.parse import parse_qsl, quote, unquote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from app.platform.errors import CommandError

_SCHEMES = {"postgres", "postgresql", "postgresql+psycopg"}


class DatabaseUrlError(CommandError):
    """The URL of the database cannot be read; the message says what is wrong, and never shows the URL."""


def parameters(url: str, wanted: str = "read-write") -> dict[str, str]:
    """Return the parameters of a connection as libpq names them.

    Several hosts are a list with commas, whether they came as `a:1,b:2`, as `?host=a:1&host=b:2`, as
    `?host=a,b&port=1,2` or as pairs. A server that can only be read is passed over, unless the URL asks for another.

    Args:
        url: in any spelling.
        wanted: what kind of server is connected to (`target_session_attrs`), where the URL does not say.

    Raises:
        DatabaseUrlError: it is no URL of PostgreSQL.
    """
    scheme, separator, rest = url.strip().partition("://")
    is_url = bool(separator) and "=" not in scheme  # a password among pairs may hold anything
    try:
        given = _of_url(scheme, rest) if is_url else conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise DatabaseUrlError("DATABASE_URL cannot be read as a URL of PostgreSQL.") from None
    named = {name: str(value) for name, value in given.items() if value is not None}
    return {"target_session_attrs": wanted, **named}


def _of_url(scheme: str, rest: str) -> dict[str, str | int | None]:
    if scheme not in _SCHEMES:
        raise DatabaseUrlError(
            f"DATABASE_URL must begin with postgresql://, not with {scheme if scheme.isalnum() else 'this'}://."
        )
    before, _, query = rest.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    places = [place for name, value in pairs if name == "host" for place in value.split(",")]
    # libpq takes a plus as it is, and `%20` alone for a space.
    others = [
        (name, value)
        for name, value in parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)
        if name != "host"
    ]
    if not places:
        return conninfo_to_dict(f"postgresql://{rest}")
    ports = [port for name, value in others if name == "port" for port in value.split(",")]
    split = [_host_and_port(place) for place in places]
    if any(port for _, port in split):
        ports = [port or (ports[0] if ports else "5432") for _, port in split]
    query = urlencode([(name, value) for name, value in others if name != "port"], quote_via=quote)
    found: dict[str, str | int | None] = conninfo_to_dict(
        f"postgresql://{before}" + (f"?{query}" if query else "")
    )
    found["host"] = ",".join(host for host, _ in split)
    if ports:
        found["port"] = ",".join(ports)
    return found


def _host_and_port(place: str) -> tuple[str, str]:
    """Split `host:port`; a folder with a socket and a bare IPv6 address have no port."""
    host, colon, port = place.rpartition(":")
    if place.startswith("/") or not colon or not port.isdigit() or (":" in host and not host.startswith("[")):
        return unquote(place), ""
    return host.strip("[]"), port


def hosts(given: dict[str, str]) -> list[dict[str, str]]:
    """Return the parameters for each host by itself.

    Raises:
        DatabaseUrlError: there are as many ports or addresses neither as one nor as hosts.
    """
    lists = {name: given[name].split(",") for name in ("host", "hostaddr", "port") if given.get(name)}
    count = max((len(lists[name]) for name in ("host", "hostaddr") if name in lists), default=1)
    for name, values in lists.items():
        if len(values) == 1 and name == "port":
            lists[name] = values * count
        elif len(values) != count:
            raise DatabaseUrlError(f"DATABASE_URL names {count} hosts, and {len(values)} of {name}.")
    return [
        {
            name: value
            for name, value in {**given, **{name: values[n] for name, values in lists.items()}}.items()
            if value
        }
        for n in range(count)
    ]


def joined(places: list[dict[str, str]]) -> dict[str, str]:
    """Return the parameters for all hosts together, in this order: what `hosts` has split."""
    lists = {
        name: ",".join(place.get(name, "") for place in places)
        for name in ("host", "hostaddr", "port")
        if any(name in place for place in places)
    }
    return {**places[0], **lists}


async def resolve(places: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return a place for each address of each host, so that one address that is silent does not stand for all.

    A name that is not found stays as it is: the driver tells it.
    """
    found = []
    for place in places:
        host = place.get("host", "")
        if not host or host.startswith(("/", "@")) or place.get("hostaddr") or _is_address(host):
            found.append(place)
            continue
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError:
            infos = []
        addresses = dict.fromkeys(str(info[4][0]) for info in infos)
        found += [{**place, "hostaddr": address} for address in addresses] or [place]
    return found


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def conninfo(url: str, wanted: str = "read-write") -> str:
    """Return a URL in any spelling as libpq takes it; `wanted` as `parameters` takes it."""
    return make_conninfo("", **parameters(url, wanted))
