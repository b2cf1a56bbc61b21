"""Backups: all of a deployment that cannot be made again, in one file, and back."""
