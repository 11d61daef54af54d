"""A training step's memory from running the real code on meta tensors; imports torch."""
