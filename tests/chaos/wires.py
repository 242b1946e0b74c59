"""Networks in a process of their own: much passes through them, and the test's own process has its callers to run."""

import asyncio
import contextlib
import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Self

from tests.chaos.between import Network


class Wires:
    """A TCP proxy before each of these ports of 127.0.0.1; each can be cut, and healed."""

    def __init__(self, targets: Sequence[int]) -> None:
        self._targets = targets

    def __enter__(self) -> Self:
        spawned = multiprocessing.get_context("spawn")
        self._control, theirs = spawned.Pipe()
        self._process = spawned.Process(target=_run, args=(theirs, self._targets), daemon=True)
        self._process.start()
        theirs.close()
        self.ports: dict[int, int] = dict(zip(self._targets, self._control.recv(), strict=True))
        """Where each is reached."""
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        self._process.join(10)
        self._process.kill()
        self._process.join()

    def cut(self, *targets: int) -> None:
        """From now on nothing arrives, and everything is acknowledged."""
        self._tell("swallow", targets)

    def heal(self, *targets: int) -> None:
        """Let what comes arrive, also what was held back."""
        self._tell("heal", targets)

    def _tell(self, what: str, targets: Sequence[int]) -> None:
        self._control.send((what, [self._targets.index(target) for target in targets]))
        self._control.recv()


def _run(control: Connection, targets: Sequence[int]) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(control, targets))


async def _serve(control: Connection, targets: Sequence[int]) -> None:
    """Serve until the other end of the control is closed."""
    async with contextlib.AsyncExitStack() as stack:
        networks = [await stack.enter_async_context(Network(("127.0.0.1", target))) for target in targets]
        control.send([network.port for network in networks])
        told = asyncio.Event()
        asyncio.get_running_loop().add_reader(control.fileno(), told.set)
        while True:
            await told.wait()
            told.clear()
            if not control.poll():  # it may have been told of what was read already
                continue
            try:
                what, which = control.recv()
            except EOFError:
                return
            for n in which:
                getattr(networks[n], what)()
            control.send(None)
