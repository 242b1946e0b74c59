"""What a disk without room may not do: fail a request as if by a fault, end a process, or go unnoticed."""

import errno
import io
import os
import threading
from contextlib import suppress
from pathlib import Path
from tempfile import SpooledTemporaryFile, gettempdir
from types import SimpleNamespace

import orjson
import pytest
from prometheus_client.mmap_dict import MmapedDict

from app.api import readiness
from app.platform import disk
from app.platform.logs import LogStream
from app.platform.metric_files import FIRST_BYTES, ReservedFile
from tests.worker import eventually


def memory_files():
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(descriptor.readlink()))
    return sum("memfd:metrics" in name for name in found)


class Pipe(io.RawIOBase):
    """Takes some bytes at a time, as long as there is room."""

    def __init__(self):
        self.taken, self.room = b"", True

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "no room")
        self.taken += bytes(data[:5])
        return min(5, len(data))


def test_a_log_that_cannot_be_written_fails_nobody_and_tells_what_it_lost():
    pipe = Pipe()
    stream = LogStream(pipe)
    stream.write(b'{"n":1}\n')
    pipe.room = False
    stream.write(b'{"n":2}\n')
    stream.write(b'{"n":3}\n{"n":4}\n')
    pipe.room = True
    stream.write(b'{"n":5}\n')
    lines = [orjson.loads(line) for line in pipe.taken.splitlines()]
    assert [line.get("n") for line in lines] == [1, None, 5]
    assert (lines[1]["lines"], lines[1]["level"]) == (3, "warning")


@pytest.mark.parametrize("gone", ["closed", "nobody reads"])
def test_a_log_whose_reader_is_gone_fails_nobody(gone):
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        os.close(reading)
        if gone == "closed":
            file.close()
        LogStream(file).write(b"line\n")


def test_files_of_metrics_hold_the_room_that_is_mapped(tmp_path):
    file = ReservedFile(str(tmp_path / "counter_1.db"))
    for n in range(5000):
        file.write_value(f"key-{n}", n, 0.0)
    assert (tmp_path / "counter_1.db").stat().st_blocks * 512 >= file._capacity > FIRST_BYTES
    read = {key: value for key, value, *_ in MmapedDict.read_all_values_from_file(tmp_path / "counter_1.db")}
    assert read == {f"key-{n}": n for n in range(5000)}
    file.close()


@pytest.mark.parametrize("full_from", ["the start", "later"])
def test_metrics_go_on_in_memory_where_there_is_no_room(full_from, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "no room")

    name = str(tmp_path / "counter_1.db")
    if full_from == "the start":
        monkeypatch.setattr(os, "posix_fallocate", refuse)
    file = ReservedFile(name)
    file.write_value("first", 1.0, 0.0)
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    for n in range(9000):  # it grows twice
        file.write_value(f"key-{n}", n, 0.0)
    file.write_value("first", 2.0, 0.0)
    values = {key: value for key, value, *_ in file.read_all_values()}
    assert values == {"first": 2.0, **{f"key-{n}": n for n in range(9000)}}
    assert Path(name).stat().st_size <= FIRST_BYTES
    assert memory_files() >= 1
    file.close()
    assert memory_files() == 0


NEARLY = "is nearly full: large uploads and exports are refused."


@pytest.fixture
def disks(monkeypatch):
    """Make disks of 100 GB with so many megabytes left, by folder."""

    def make(**left):
        def statvfs(place):
            return SimpleNamespace(
                f_frsize=4096, f_blocks=100 * 2**18, f_bavail=left[Path(place).name] * 2**8
            )

        monkeypatch.setattr(disk.os, "statvfs", statvfs)

    return make


@pytest.mark.parametrize(
    ("home", "temporary", "told"),
    [
        (2000, 2000, []),
        (900, 2000, [f"The disk of the service's home {NEARLY}"]),
        (2000, 900, [f"The disk of temporary files {NEARLY}"]),
        (15, 2000, "The disk of the service's home is full."),
        (2000, 15, "The disk of temporary files is full."),
    ],
)
def test_a_disk_is_told_when_it_is_nearly_full_and_no_import_is_served_when_it_is(
    home, temporary, told, disks, tmp_path
):
    (tmp_path / "data").mkdir()
    disks(data=home, **{Path(gettempdir()).name: temporary})
    if isinstance(told, list):
        assert disk.check_disks(tmp_path) == told
    else:
        with pytest.raises(disk.NoRoomError, match=told):
            disk.check_disks(tmp_path)


def test_a_home_that_is_not_there_needs_no_room(disks, tmp_path):
    disks(**{Path(gettempdir()).name: 2000})
    assert disk.check_disks(tmp_path / "none") == []


async def test_the_service_is_not_ready_while_a_disk_is_full_and_is_when_there_is_room(client, monkeypatch):
    monkeypatch.setattr(readiness, "REMEMBER_SECONDS", 0.0)
    for left, status in ((2000, 200), (900, 200), (15, 503), (2000, 200)):
        disk_ = SimpleNamespace(f_frsize=4096, f_blocks=100 * 2**18, f_bavail=left * 2**8)
        monkeypatch.setattr(disk.os, "statvfs", lambda _, disk_=disk_: disk_)
        reply = await client.get("/health/ready")
        assert reply.status_code == status
        if status == 503:
            assert reply.json()["type"] == "/problems/no-room"
            assert reply.headers["Retry-After"] == "60"
        else:
            assert any("nearly full" in said for said in reply.json()["warnings"]) == (left == 900)


async def test_the_service_is_not_ready_while_a_disk_hangs_and_waits_for_it_once(client, monkeypatch):
    monkeypatch.setattr(readiness, "REMEMBER_SECONDS", 0.0)
    monkeypatch.setattr(readiness, "DISK_SECONDS", 0.05)
    looks, over = [], threading.Event()

    def look(_):
        looks.append(1)
        over.wait(20)
        return []

    monkeypatch.setattr(readiness, "check_disks", look)
    try:
        for _ in range(2):
            reply = await client.get("/health/ready")
            assert (reply.status_code, reply.json()["type"]) == (503, "/problems/no-room")
        assert len(looks) == 1
    finally:
        over.set()
    assert await eventually(lambda: _status(client, 200), 20)


async def _status(client, status):
    return (await client.get("/health/ready")).status_code == status


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
async def test_an_upload_that_meets_a_full_disk_is_told_so(code, client, monkeypatch):
    def refuse(*_):
        raise OSError(code, "no room")

    monkeypatch.setattr(SpooledTemporaryFile, "write", refuse)
    reply = await client.post("/v1/pools/p/imports", files={"file": ("codes.csv", b"code\nA-1\n")})
    assert (reply.status_code, reply.json()["type"]) == (503, "/problems/no-room")
