"""Setting vouchers aside for a campaign before it starts."""
