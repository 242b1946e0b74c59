"""API keys: made, stored, recognised."""
