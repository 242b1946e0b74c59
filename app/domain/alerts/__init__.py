"""Telling in time that a pool runs low."""
