"""Removing a person from what the service knows."""
