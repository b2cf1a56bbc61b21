"""The services; each is a folder, and none imports another."""
