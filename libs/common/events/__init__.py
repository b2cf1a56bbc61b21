"""Events: what was served, on its way from a server to the store."""
