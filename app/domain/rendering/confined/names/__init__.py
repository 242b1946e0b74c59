"""The names that templates know from Bloomreach's Jinja pages, a small file for each kind."""
