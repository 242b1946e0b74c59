"""From bytes to rows: one reader for previews and imports alike."""
