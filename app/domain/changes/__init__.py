"""Change many vouchers at once: make them void, take them back, move their expiry."""
