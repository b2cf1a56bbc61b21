"""How calls come in: one module per protocol, all of them over the same gateway."""
