"""Putting codes into messages."""
