"""Which ids are one person: what other rooms ask before they write or look for a customer."""
