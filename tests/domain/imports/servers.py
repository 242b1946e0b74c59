"""Servers that imports fetch from, on loopback and in this process."""

import asyncio
import socket
import socketserver
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import asyncssh

CODES = b"code\nS-1\nS-2\nS-3\n"


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.end_headers()
        elif self.path == "/loop":
            self.send_response(302)
            self.send_header("Location", "/loop")
            self.end_headers()
        elif self.path.startswith("/missing"):
            self.send_error(404)
        elif self.path.startswith("/endless"):
            self.send_response(200)
            self.end_headers()
            try:
                while not self.server.closing.wait(0.02):
                    self.wfile.write(b"code\n")
            except OSError:
                pass  # the client has had enough
        else:
            self.server.asked.append(self.headers.get("Authorization"))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.server.content)

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def http_server() -> Iterator[ThreadingHTTPServer]:
    """Serves CODES, `/to/X` redirects to X, `/missing` and `/endless` are what they say."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.daemon_threads = True
    server.asked, server.closing, server.content = [], threading.Event(), CODES
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def on_loopback(path: Path) -> Iterator[int]:
    """The port of a TCP server that passes everything to and from a Unix socket."""

    class Pass(socketserver.BaseRequestHandler):
        def handle(self):
            with socket.socket(socket.AF_UNIX) as there:
                there.connect(str(path))
                back = threading.Thread(target=_pump, args=(there, self.request))
                back.start()
                _pump(self.request, there)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Pass) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


class _Shop(asyncssh.SSHServer):
    def __init__(self, connections):
        self.connections = connections

    def connection_made(self, connection):
        self.connections.append(connection)

    def password_auth_supported(self):
        return True

    def validate_password(self, username, password):
        return (username, password) == ("shop", "s3cret")


@asynccontextmanager
async def sftp_server(folder: Path) -> AsyncIterator[tuple[int, str]]:
    """The port of a server that serves a folder to user `shop`, and its public key."""
    connections: list[asyncssh.SSHServerConnection] = []
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.create_server(
        lambda: _Shop(connections),
        "127.0.0.1",
        0,
        server_host_keys=[key],
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(folder)),
    )
    async with server:
        yield server.get_port(), key.export_public_key().decode()
    for connection in connections:
        connection.abort()
        await connection.wait_closed()


async def until(condition) -> None:
    """Wait for a condition, half a minute at most."""
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.02)
