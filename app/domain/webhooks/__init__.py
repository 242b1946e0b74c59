"""Telling other systems what happens to vouchers and pools, in order and at least once."""
