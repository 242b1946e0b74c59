"""A start that cannot be is told in one line, with exit 1, without a trace and without a secret."""

import os
import socket
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

SECRET = "hidden-value"


@contextmanager
def refusing_server():
    """A PostgreSQL that knows nobody: it answers each start of a connection as one does to a wrong password."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    while True:
                        head = connection.recv(8)
                        if len(head) < 8:
                            break
                        length, code = struct.unpack("!II", head)
                        connection.recv(length - 8)
                        if code in {80877103, 80877104}:  # asks for TLS, or for GSS
                            connection.sendall(b"N")
                            continue
                        said = b'SFATAL\0C28P01\0Mpassword authentication failed for user "u"\0\0'
                        connection.sendall(b"E" + struct.pack("!I", len(said) + 4) + said)
                        break

        threading.Thread(target=answer, daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def start(arguments=(), **environment):
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "serve", *arguments],
        env={**os.environ, "VOUCHERS_STARTUP_SECONDS": "0.5", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """All starts, two at a time: most of the time goes into importing."""
    folder = tmp_path_factory.mktemp("homes")
    nowhere = f"postgresql://u:{SECRET}@127.0.0.1:1/d"
    with (
        refusing_server() as port,
        ThreadPoolExecutor(2) as pool,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        outside = {
            "DATABASE_URL": f"postgresql://u:{SECRET}@127.0.0.1:{port}/d",
            "VOUCHERS_STARTUP_SECONDS": "50",
        }
        tries = {
            "wrong password": ([], outside),
            "no database": ([], {"DATABASE_URL": nowhere}),
            "wrong scheme": ([], {"DATABASE_URL": f"mysql://u:{SECRET}@127.0.0.1/d"}),
            "unknown setting": ([], {"VOUCHERS_HOMES": SECRET}),
            "wrong setting": ([], {"VOUCHERS_SECRET_KEY": SECRET}),
            "no place for a home": ([], {"VOUCHERS_HOME": "/proc/home"}),
            "port 99999": (["--port", "99999"], {"VOUCHERS_HOME": str(folder / "a")}),
            "taken port": (
                ["--port", str(taken.getsockname()[1])],
                {"VOUCHERS_HOME": str(folder / "b")},
            ),
        }
        running = {name: pool.submit(start, arguments, **given) for name, (arguments, given) in tries.items()}
        return {name: each.result() for name, each in running.items()}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wrong password", "password authentication failed"),
        ("no database", "the database cannot be used"),
        ("wrong scheme", "DATABASE_URL must begin with postgresql://"),
        ("unknown setting", "did you mean VOUCHERS_HOME?"),
        ("wrong setting", "VOUCHERS_SECRET_KEY"),
        ("no place for a home", "/proc/home"),
        ("port 99999", "Cannot listen on 127.0.0.1:99999: a port is a number from 0 to 65535."),
        ("taken port", "Cannot listen on 127.0.0.1:"),
    ],
)
def test_a_start_that_cannot_be_is_told_in_a_line(started, name, said):
    code, out, err = started[name]
    assert (code, out) == (1, "")
    assert err.startswith("vouchers: ")
    assert err.count("\n") == 1
    assert said in err
    assert SECRET not in err
