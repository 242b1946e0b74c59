"""The inventory: one voucher, and lists of them."""
