"""Which account the embedded PostgreSQL runs as: PostgreSQL refuses to run as root."""

import os
import pwd
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.platform.postgres.programs import run

_TRIAL_SECONDS = 20.0
"""What a look at the folders may take: a disk that hangs holds it up for ever."""


@dataclass(frozen=True)
class ServerUser:
    """The account that the server runs as. For anyone but root it is the caller's own."""

    uid: int
    gid: int

    @classmethod
    def of(cls, home: Path) -> "ServerUser":
        """Choose the account for the server in `home`.

        Root's server belongs to whoever owns the data, so that it stays the same whatever accounts
        are added later; before there is data, to the owner of the home. A home of root's gets
        `postgres`, an account made for this, and `nobody`, which others use too, only where there
        is no `postgres`.
        """
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        with suppress(OSError):
            data = (home / "data" / "PG_VERSION").stat()
            return cls(data.st_uid, data.st_gid)
        with suppress(OSError, KeyError):
            owner = pwd.getpwuid(home.stat().st_uid)  # initdb wants an account that has a name
            if owner.pw_uid != 0:
                return cls(owner.pw_uid, owner.pw_gid)
        for name in ("postgres", "nobody"):
            with suppress(KeyError):
                account = pwd.getpwnam(name)
                return cls(account.pw_uid, account.pw_gid)
        return cls(0, 0)  # and PostgreSQL will say that it must not be root

    def owns(self, path: Path) -> None:
        """Make this account the owner of `path`, which the caller has just made."""
        os.chown(path, self.uid, self.gid)

    def prefix(self, program: Path, folder: Path) -> tuple[str, ...]:
        """Return what to write before a command so that it runs as this account.

        A folder above `folder` or `program` may be one that only root can enter (`/root`, a
        temporary folder of root's). It is not ours to open. Instead the command keeps one of root's
        capabilities, and only if it needs one: to read and search everything, or, where root itself
        lacks that (a container) or the programs are root's alone to execute, to pass over
        permissions. That is still less than root, as which the service itself runs.

        Raises `PermissionError` if the account cannot get there by any of these ways, and `TimeoutError` where the disk
        does not answer.
        """
        if os.geteuid() == self.uid:
            return ()
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise PermissionError("root needs `setpriv` (of util-linux): install it, or run as another user")
        become = (setpriv, f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups")
        for capability in ("", "dac_read_search", "dac_override"):
            way = (*become, *(_keep(capability) if capability else ()))
            trial = (*way, "sh", "-c", '"$0" --version && cd "$1"', str(program), str(folder))
            try:
                code, _ = run(trial, _TRIAL_SECONDS, folder="/")
            except subprocess.TimeoutExpired:
                raise TimeoutError(f"the disk of {folder} or {program} does not answer") from None
            if code == 0:
                return way
        raise PermissionError(
            f"PostgreSQL runs as user {self.uid}, who cannot reach {folder} or {program}, and this"
            " root has no capability to pass on: put both where that user may enter, or run as"
            " another user"
        )


def _keep(capability: str) -> tuple[str, ...]:
    """Return the options of setpriv that keep `capability` for someone who is not root.

    The secure bit matters: without it access(2) leaves such a capability out of account, and by
    access(2) PostgreSQL looks for its own programs.
    """
    return (
        "--securebits=+no_setuid_fixup",
        f"--inh-caps=-all,+{capability}",
        f"--ambient-caps=-all,+{capability}",
    )
