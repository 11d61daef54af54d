"""The GPU memory of a server: weights, profiling peak, CUDA graphs, adapter slots and what is left for the KV cache."""
