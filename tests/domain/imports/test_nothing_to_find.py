"""No client library finds credentials of the service: all of them are laid out, and servers listen for them."""

import asyncio
import socketserver
import struct
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import asyncssh
import pytest

from app.domain.imports.sources import fetching
from app.platform.errors import DomainError
from app.platform.projects import DEFAULT
from tests.domain.imports.servers import CODES

AMBIENT = "aMBIENTs3cret"


class _Heard(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.heard.append(f"{self.command} {self.path}\n{self.headers}")
        self.send_response(200)
        self.send_header("Content-Length", str(len(CODES)))
        self.end_headers()
        self.wfile.write(CODES if self.command == "GET" else b"")

    do_HEAD = do_PUT = do_POST = do_CONNECT = do_GET  # noqa: N815

    def log_message(self, *_):
        """Say nothing."""


class _AsksForAPassword(socketserver.BaseRequestHandler):
    """A PostgreSQL server as far as its question for a password."""

    def handle(self):
        self.request.settimeout(10)
        while data := self.request.recv(4096):
            self.server.heard.append(data)
            if data[4:8] == struct.pack(">i", 80877103):  # wants TLS
                self.request.sendall(b"N")
            elif data[4:6] == b"\x00\x03":
                self.request.sendall(b"R" + struct.pack(">ii", 8, 3))  # in clear text, please
            else:
                return


@contextmanager
def listening(server):
    server.heard, server.daemon_threads = [], True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def http():
    with listening(ThreadingHTTPServer(("127.0.0.1", 0), _Heard)) as server:
        yield server


@pytest.fixture
def nobody():
    """Where only a library that looks for credentials, or a proxy, would connect to."""
    with listening(ThreadingHTTPServer(("127.0.0.1", 0), _Heard)) as server:
        yield server
        assert server.heard == []


@pytest.fixture(autouse=True)
def ambient(settings, tmp_path, monkeypatch, nobody):
    """The service's own credentials, wherever some library looks for them."""
    elsewhere = f"http://127.0.0.1:{nobody.server_port}"
    home = tmp_path / "home-of-the-service"
    key = asyncssh.generate_private_key("ssh-ed25519")
    for name, content in {
        ".pgpass": f"*:*:*:*:{AMBIENT}\n",
        ".netrc": f"default login {AMBIENT} password {AMBIENT}\n",
        ".pg_service.conf": f"[own]\nuser={AMBIENT}\npassword={AMBIENT}\n",
        ".aws/credentials": f"[default]\naws_access_key_id={AMBIENT}\naws_secret_access_key={AMBIENT}\n",
        ".ssh/id_ed25519": key.export_private_key().decode(),
        ".ssh/config": f"Host *\n  User {AMBIENT}\n",
        "google.json": f'{{"type": "authorized_user", "refresh_token": "{AMBIENT}"}}',
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(content)
        (home / name).chmod(0o600)
    for name, value in {
        "HOME": str(home),
        "PGPASSWORD": AMBIENT,
        "PGUSER": AMBIENT,
        "PGSERVICE": "own",
        "PGPASSFILE": str(home / ".pgpass"),
        "NETRC": str(home / ".netrc"),
        "AWS_ACCESS_KEY_ID": AMBIENT,
        "AWS_SECRET_ACCESS_KEY": AMBIENT,
        "AWS_SESSION_TOKEN": AMBIENT,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": elsewhere,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": elsewhere,
        "AWS_ENDPOINT_URL": elsewhere,
        "GOOGLE_APPLICATION_CREDENTIALS": str(home / "google.json"),
        "GCE_METADATA_HOST": elsewhere.removeprefix("http://"),
        "FSSPEC_S3_KEY": AMBIENT,
        "FSSPEC_S3_SECRET": AMBIENT,
        "FSSPEC_SFTP_PASSWORD": AMBIENT,
        "SSH_AUTH_SOCK": str(home / "agent"),
        **dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"), elsewhere),
    }.items():
        monkeypatch.setenv(name, value)


def test_a_database_without_a_password_gets_none(settings):
    with listening(socketserver.ThreadingTCPServer(("127.0.0.1", 0), _AsksForAPassword)) as server:
        url = f"postgresql://shop@127.0.0.1:{server.server_address[1]}/x"
        with pytest.raises(DomainError, match="no password supplied"):
            list(
                fetching.fetch(
                    settings, {"type": "database", "url": url, "query": "SELECT 1"}, project=DEFAULT
                )
            )
        said = b"".join(server.heard)
        assert b"shop" in said
        assert AMBIENT.encode() not in said


def test_a_database_without_a_user_name_is_refused(settings):
    source = {"type": "database", "url": "postgresql://127.0.0.1:1/x", "query": "SELECT 1"}
    with pytest.raises(DomainError, match="has no user name"):
        list(fetching.fetch(settings, source, project=DEFAULT))


def test_a_url_is_fetched_without_netrc_and_proxy(settings, http):
    url = f"http://127.0.0.1:{http.server_port}/codes.csv"
    assert b"".join(fetching.fetch(settings, {"type": "url", "url": url}, project=DEFAULT)) == CODES
    assert len(http.heard) == 1
    assert "authorization" not in http.heard[0].lower()


@pytest.mark.parametrize("key", [{}, {"key": None}, {"key": "", "secret": ""}, {"token": "t"}])
def test_s3_without_a_key_is_anonymous(settings, http, key):
    options = {"endpoint_url": f"http://127.0.0.1:{http.server_port}", **key}
    source = {"type": "storage", "url": "s3://codes/a.csv", "options": options}
    try:
        list(fetching.fetch(settings, source, project=DEFAULT))
    except DomainError as error:
        assert "cannot be read" in error.detail  # noqa: PT017  (the fake server is no S3)
    assert http.heard
    for request in http.heard:
        assert "authorization" not in request.lower()
        assert "x-amz-security-token" not in request.lower()
        assert AMBIENT not in request


@pytest.mark.parametrize("key", [{"key": "k"}, {"secret": "s"}, {"key": "k", "secret": None}])
def test_s3_does_not_look_for_the_other_half_of_a_key(settings, http, key):
    options = {"endpoint_url": f"http://127.0.0.1:{http.server_port}", **key}
    with pytest.raises(DomainError, match="together"):
        list(
            fetching.fetch(
                settings, {"type": "storage", "url": "s3://codes/a.csv", "options": options}, project=DEFAULT
            )
        )
    assert http.heard == []


async def test_an_sftp_server_is_shown_no_key(settings):
    shown = []

    class Server(asyncssh.SSHServer):
        def begin_auth(self, username):
            shown.append(username)
            return True

        def public_key_auth_supported(self):
            return True

        def validate_public_key(self, _username, key):
            shown.append(key)
            return False

        def password_auth_supported(self):
            return True

        def validate_password(self, _username, password):
            shown.append(password)
            return False

    own = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.create_server(Server, "127.0.0.1", 0, server_host_keys=[own])
    async with server:
        url = f"sftp://shop@127.0.0.1:{server.get_port()}/codes.csv"
        with pytest.raises(DomainError, match="cannot be read"):
            await asyncio.to_thread(
                lambda: list(fetching.fetch(settings, {"type": "storage", "url": url}, project=DEFAULT))
            )
    assert set(shown) <= {"shop", ""}
    assert shown
