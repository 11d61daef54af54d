"""A replay of PyTorch's caching allocator."""
