"""Where an import's bytes come from."""
