"""How a project moves to another database while it is served: it is copied, followed, paused, compared, switched."""
