"""Server: permits, the choice of an endpoint, and what was served."""
