"""From staged rows to vouchers."""
