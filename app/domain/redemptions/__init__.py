"""Learning from tracked events which vouchers were used."""
