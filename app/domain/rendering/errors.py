"""Errors of rendering."""

from app.platform.errors import DomainError, IdempotencyKeyReusedError


class TemplateError(DomainError):
    """The template cannot be rendered; `line` tells where."""

    status, name, title = 422, "template-error", "The template cannot be rendered"


class TemplateLimitError(DomainError):
    """The template is too long, too slow or prints too much."""

    status, name, title = 422, "template-limit", "The template exceeds a limit"


def worker_killed_error() -> TemplateLimitError:
    """Return the error for a message that ended its process."""
    return TemplateLimitError("The template takes too much time or memory; it was stopped.", line=None)


def erased_error() -> IdempotencyKeyReusedError:
    """Return the error for a message or a node that came before, and whose customer was erased since."""
    return IdempotencyKeyReusedError(
        "The same message came before, and its customer was erased since; nothing was taken or stored."
    )


class MessageAbortedError(DomainError):
    """The template said `{% abort %}`: the message is not sent, and takes nothing."""

    status, name, title = 409, "aborted", "The template aborted the message"
