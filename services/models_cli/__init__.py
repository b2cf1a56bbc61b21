"""`constellation models`: a server's address or a Triton folder becomes a model of the catalog."""
