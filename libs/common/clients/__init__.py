"""Clients of our own services, each an adapter of a port."""
