"""One module per task: what it takes, how it is put to a model, and what it answers."""
