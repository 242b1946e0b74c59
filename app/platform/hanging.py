"""Servers that leave what they are asked without an answer: which they are, and an end to what waits for them."""

import contextlib
import os
import socket
import threading
import time
import weakref
from typing import TypeAlias

import psycopg
from psycopg.pq.abc import PGconn
from psycopg.rows import TupleRow

Server: TypeAlias = tuple[str, str]
"""Host and port, as a URL names them."""
SUSPECT_SECONDS = 30.0
"""How long a server that left a statement without an answer is asked after the other hosts of its URL."""


class Suspects:
    """When servers last left a statement of this process without an answer, by the monotonic clock."""

    def __init__(self) -> None:
        self._servers: dict[Server, float] = {}

    def add(self, server: Server) -> None:
        """Note that it did just now."""
        self._servers[server] = time.monotonic()

    def __contains__(self, server: Server) -> bool:
        """Tell whether another host that takes writes is to be preferred to it.

        A primary that has lost its standby, and of whose end nobody was told, takes connections, and no commit on it
        is ever answered: who was promoted meanwhile takes writes too.
        """
        return self.since(server) > float("-inf")

    def since(self, server: Server) -> float:
        """Return when it last did, or minus infinity where that is long ago: the least is to be preferred.

        Who was promoted may leave a commit waiting too, until it knows that it has no standby. Of two that are suspect
        the one that was left behind would else be asked for half a minute, if it was the last to take a connection.
        """
        at = self._servers.get(server, float("-inf"))
        return at if at > time.monotonic() - SUSPECT_SECONDS else float("-inf")


suspects = Suspects()


class Hang:
    """When a database last left something of this process without an answer, by the monotonic clock."""

    at = float("-inf")

    def note(self) -> None:
        """Note that it did just now."""
        self.at = time.monotonic()


_hangs: dict[str, Hang] = {}


def hang_of(url: str) -> Hang:
    """Return when the database of this URL last left something without an answer."""
    return _hangs.setdefault(url, Hang())


class Open:
    """The connections of this process, so that those can be ended which wait for a server that answers nobody."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: weakref.WeakSet[psycopg.AsyncConnection[TupleRow] | psycopg.Connection[TupleRow]] = (
            weakref.WeakSet()
        )

    def add(self, connection: psycopg.AsyncConnection[TupleRow] | psycopg.Connection[TupleRow]) -> None:
        """Note a connection that was opened; it is forgotten with its last use."""
        with self._lock:
            self._all.add(connection)

    def sever(self, server: Server) -> None:
        """End each one to a server by its socket, whoever waits on it in whatever thread: the wait fails at once."""
        with self._lock:
            connections = list(self._all)
        for connection in connections:
            with contextlib.suppress(OSError, psycopg.Error):
                if server_of(connection.pgconn) == server:
                    with socket.socket(fileno=os.dup(connection.pgconn.socket)) as end:
                        end.shutdown(socket.SHUT_RDWR)


open_connections = Open()


def server_of(pgconn: PGconn) -> Server:
    """Return the server of a connection."""
    return pgconn.host.decode(), pgconn.port.decode()


def server_at(place: dict[str, str]) -> Server:
    """Return the server at one of a URL's places."""
    return place.get("host", ""), place.get("port") or "5432"
