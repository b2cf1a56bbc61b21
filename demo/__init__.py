"""What the demo models compute, each answer from its input alone; models/ serves it."""
