"""Alerts are told to a receiver on this machine."""

from tests.receivers import receiver, settings

__all__ = ["receiver", "settings"]
