"""The ground: knows nobody above it."""
