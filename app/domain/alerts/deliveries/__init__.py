"""Messages to other systems: webhooks and emails, tried until they arrive."""
