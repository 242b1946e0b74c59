"""How HTTP is spoken, by any face."""
