"""How a project moves to another database while it is served: copied, followed, paused for a moment, compared, switched."""
