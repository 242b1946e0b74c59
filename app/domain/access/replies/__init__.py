"""Replies to requests with an idempotency key."""
