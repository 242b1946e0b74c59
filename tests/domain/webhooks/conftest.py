"""Webhooks are told to a receiver on this machine; a try that failed is not made again while a test looks."""

import pytest

from app.platform.settings import Settings
from tests.receivers import receiver
from tests.receivers import settings as of_receivers

__all__ = ["of_receivers", "receiver"]


@pytest.fixture
def settings(of_receivers: Settings) -> Settings:
    return of_receivers.model_copy(update={"alert_retry_seconds": 60})
