"""Node: keeps the instances of one machine as they should be."""
