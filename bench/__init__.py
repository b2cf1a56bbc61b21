"""Measures what a gateway costs: this project's and others', the same work on the same machine."""
