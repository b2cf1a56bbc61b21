"""The vocabulary every service speaks: values, errors, ports, wire formats."""
