"""Every route of the API, one file a resource."""
