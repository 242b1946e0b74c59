"""The settings of the embedded PostgreSQL."""

import os
import shutil
from pathlib import Path

PORT = 5432
"""Only part of the socket's name; given everywhere, so that PGPORT has no say."""

FIXED = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "listen_addresses": "",
    "port": PORT,
    "unix_socket_directories": "../run",  # seen from `data`: no odd character to quote
    "unix_socket_permissions": "0700",
}
"""On the command line, out of reach of any configuration file: what keeps data safe and doors shut."""

_TUNABLE = {
    "max_connections": 200,
    "wal_buffers": "16MB",
    "min_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": 0.9,
    "random_page_cost": 1.1,
    "jit": "off",  # it makes a batch of claims twenty times slower
    # A draw leaves dead index entries in the way of the next one: clear them early.
    "autovacuum_naptime": "15s",
    "autovacuum_vacuum_scale_factor": 0.02,
    "autovacuum_vacuum_insert_scale_factor": 0.05,
    "autovacuum_analyze_scale_factor": 0.02,
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_error_verbosity": "terse",  # the detail of a conflict would show a voucher's code
    "logging_collector": "on",
    "log_directory": "../log",
    "log_filename": "postgresql-%a.log",  # one a weekday, each overwritten after a week
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
    "log_rotation_size": 0,
}
_CGROUP = Path("/sys/fs/cgroup/memory.max")
_MIB, _GIB = 2**20, 2**30


def tunable(home: Path) -> dict[str, object]:
    """Return what goes into postgresql.conf at the first start, for this machine; the operator may tune it."""
    sizes = {
        "shared_buffers": f"{shared_buffers_mib(_memory())}MB",
        "max_wal_size": f"{max_wal_mib(shutil.disk_usage(home).total)}MB",
    }
    return {**sizes, **_TUNABLE}


def shared_buffers_mib(memory: int) -> int:
    """Return the cache for a machine with so many bytes: an eighth of 8 GiB, a quarter of the rest, 128 MiB to 8 GiB.

    An import and an assign enter the index of codes all over. What does not fit is read from the system's memory for
    each of them, and written out for another one.
    """
    return min(max(memory // 8, (memory - 4 * _GIB) // 4, _GIB // 8), 8 * _GIB) // _MIB


def max_wal_mib(disk: int) -> int:
    """Return how far the log may grow, on a disk of so many bytes: a sixteenth, from 1 to 8 GiB.

    After each checkpoint the first change of a page puts the whole of it into the log. The further they are apart, the
    less is written, and the longer the server takes to start after a crash.
    """
    return min(max(disk // 16, _GIB), 8 * _GIB) // _MIB


def _memory() -> int:
    """Return the bytes of memory that this machine has, or this container may use."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(physical, int(_CGROUP.read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return physical
