"""What is wrong with a running cluster, why that matters, and how it is mended."""
