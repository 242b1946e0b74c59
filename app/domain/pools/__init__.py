"""Pools and their counts."""
