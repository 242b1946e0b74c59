"""How fast a pool empties, and how its stock went."""
