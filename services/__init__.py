"""The services; each is a folder, and none imports another."""

import libs  # noqa: F401 - which finds the compiled modules, of services, too
