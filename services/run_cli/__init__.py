"""`constellation run`: one call of a model from the command line, over gRPC."""
