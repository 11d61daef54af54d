"""A training step's memory, derived operation by operation."""
