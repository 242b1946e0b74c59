"""What shops tell of their customers."""
