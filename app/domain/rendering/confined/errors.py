"""What ends the rendering of a message early. The names are those of the problems (`errors.py of the rooms`)."""


class RenderAborted(Exception):  # noqa: N818  (not a fault of the program)
    """The message cannot be made; `extra` tells more, such as the pool."""

    def __init__(self, name: str, detail: str, **extra: object) -> None:
        super().__init__(detail)
        self.name = name
        self.detail = detail
        self.extra = extra


class LimitExceeded(RenderAborted):
    """A limit of the service was reached."""

    def __init__(self, detail: str) -> None:
        super().__init__("template-limit", detail)
