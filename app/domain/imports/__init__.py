"""Loading codes into a pool."""
