"""Every change of a voucher, and the proof that they agree."""
