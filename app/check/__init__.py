"""Recounts, and proves what must always hold."""
