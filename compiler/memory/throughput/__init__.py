"""The time of a training step by a roofline over its kernels."""
