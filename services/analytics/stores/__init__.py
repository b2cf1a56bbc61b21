"""Where events are kept, one module per store."""
