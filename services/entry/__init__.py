"""Entry: the public fronts, the tasks, and the choice of a colo."""
