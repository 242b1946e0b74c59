"""The sockets that the service listens on: taken once by the supervisor, which keeps them as processes come and go.

Each web process has a socket of its own for the same port (SO_REUSEPORT): the kernel spreads connections over them, and
none can take them all. A connection that waits on a socket whose process dies is served by another one (adoption.py).
"""

import socket

from app.platform.errors import CommandError


class PortTakenError(CommandError):
    """The address to listen on is not free, or not ours."""


def hold(host: str, port: int, count: int) -> list[socket.socket]:
    """Take a port, so that nobody else can, and return so many sockets bound to it. They do not listen yet.

    Raises:
        PortTakenError: it cannot be had.
    """
    try:
        _socket(host, port, shared=False).close()  # fails where another service shares the port
        first = _socket(host, port, shared=True)
        taken: int = first.getsockname()[1]
        return [first, *(_socket(host, taken, shared=True) for _ in range(count - 1))]
    except OverflowError:
        raise PortTakenError(f"Cannot listen on {host}:{port}: a port is a number from 0 to 65535.") from None
    except OSError as error:
        raise PortTakenError(f"Cannot listen on {host}:{port}: {error.strerror}.") from error


def _socket(host: str, port: int, *, shared: bool) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    held = socket.socket(family, kind, protocol)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((address[0], port, *address[2:]))
    except BaseException:
        held.close()
        raise
    return held
