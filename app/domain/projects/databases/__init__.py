"""The databases that projects live in: how one is added, what they hold, and where a new project goes."""
