"""Sockets whose process gives no sign of life are served by the others, until it or its successor does.

The kernel goes on giving new connections to the socket of a process that was killed or hangs. They would wait for its
successor, whose predecessor takes seconds to be noticed, and which takes more to start.
"""

import asyncio
import ctypes
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

SILENCE_SECONDS = 0.7
"""A process silent for so long does not serve its socket now: it says ten times a second that it does."""

Serve = Callable[[socket.socket], Awaitable[asyncio.AbstractServer]]


class Adoption:
    """The sockets of all web processes, as one of them sees them.

    In `beats`, at the place of its own socket, each says when it last served it, by the clock that all share.
    """

    def __init__(
        self, own: int, sockets: Sequence[socket.socket], beats: ctypes.Array[ctypes.c_double]
    ) -> None:
        self._own = own
        self._sockets = sockets
        self._beats = beats
        self._adopted: dict[int, asyncio.AbstractServer] = {}

    async def look(self, now: float, serve: Serve) -> None:
        """Tell that this process serves its own socket; adopt those of the silent, let go those of the others.

        A process that was silent itself does not judge yet: the whole machine may have stood still.
        """
        paused = now - self._beats[self._own] > SILENCE_SECONDS
        self._beats[self._own] = now
        for other, beat in enumerate(self._beats):
            if now - beat <= SILENCE_SECONDS:
                self._let_go(other)
            elif beat and not paused and other not in self._adopted:  # without a beat it does not listen yet
                with suppress(OSError):  # too many files are open; the next look tries again
                    self._adopted[other] = await serve(self._sockets[other].dup())

    def end(self) -> None:
        """Let go all that was adopted."""
        for other in tuple(self._adopted):
            self._let_go(other)

    def _let_go(self, other: int) -> None:
        """Close the copy of a socket. The socket listens on, and its own process serves who waits there."""
        if server := self._adopted.pop(other, None):
            server.close()
