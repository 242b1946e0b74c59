"""Customers and their events."""
