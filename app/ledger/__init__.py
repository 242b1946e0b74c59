"""Reading the ledger: who got what."""
