"""What a server forwards to, one module per kind of endpoint."""
