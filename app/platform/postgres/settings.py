"""The settings of the embedded PostgreSQL."""

import os
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
    "max_wal_size": "4GB",
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
_MIB = 2**20


def tunable() -> dict[str, object]:
    """Return what goes into postgresql.conf at the first start, for this machine; the operator may tune it."""
    return {"shared_buffers": f"{shared_buffers_mib(_memory())}MB", **_TUNABLE}


def shared_buffers_mib(memory: int) -> int:
    """Return the cache for a machine with so many bytes: an eighth of them, from 128 MiB to 1 GiB.

    An import touches the whole index of codes all the time: ten million took 121 s with 256 MiB, 110 s with 1 GiB.
    """
    return min(max(memory // 8 // _MIB, 128), 1024)


def _memory() -> int:
    """Return the bytes of memory that this machine has, or this container may use."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(physical, int(_CGROUP.read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return physical
