"""Control: the only store, the world map, and who owns which shard."""
