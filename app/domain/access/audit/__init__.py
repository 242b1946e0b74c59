"""Who did what: a table that only grows."""
