"""Imports that are repeated by the clock."""
