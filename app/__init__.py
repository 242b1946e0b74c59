"""Voucher Pools: pools of codes, each handed out exactly once, over HTTP and PostgreSQL."""
