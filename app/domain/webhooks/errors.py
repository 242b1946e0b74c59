"""Errors of webhooks."""

import uuid

from app.platform.errors import DomainError


class WebhookNotFoundError(DomainError):
    """No webhook has this id."""

    status, name, title = 404, "webhook-not-found", "There is no such webhook"

    def __init__(self, webhook_id: uuid.UUID) -> None:
        super().__init__(f"There is no webhook {webhook_id}.")


class TooManyWebhooksError(DomainError):
    """There are as many webhooks as may be."""

    status, name, title = 409, "too-many-webhooks", "There are too many webhooks"

    def __init__(self, most: int) -> None:
        super().__init__(f"There are {most} webhooks already; delete one that is not needed.")
