"""How far a process is on its way out, for whoever runs long in it.

A stop has stages. First the process is only leaving: it serves all that comes, and tells proxies to go elsewhere. Then
it takes no new work, and what runs long ends at the next good place and says why.
"""

from typing import ClassVar

from app.platform.errors import DomainError


class StoppingError(DomainError):
    """This process is being stopped; the request was not begun, or not finished."""

    status, name, title = 503, "stopping", "The process is being stopped"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}

    def __init__(self) -> None:
        super().__init__(
            "This process is being stopped. Send the request again, with the same key or message."
        )


class Stopping:
    """The stages of one process."""

    def __init__(self) -> None:
        self.leaving = False
        """Connections are closed after their next reply."""
        self.ready = True
        """Whether proxies may go on sending requests to this address."""
        self.ending = False
        """No new work is begun."""

    def leave(self, *, ready: bool) -> None:
        """Begin the first stage; `ready` where another process takes the place of this one."""
        self.leaving = True
        self.ready = ready

    def end(self) -> None:
        """Begin the last stage."""
        self.leaving = self.ending = True

    def reset(self) -> None:
        """Take everything back; for tests, of which one process runs many."""
        self.leaving = self.ending = False
        self.ready = True


stopping = Stopping()
"""Of this process."""
