"""How an instance is started and stopped, one module per way."""
