"""A small decoder language model in numpy: weights, adapters, sampling and generation."""
