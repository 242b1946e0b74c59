"""Handing out vouchers, each exactly once."""
