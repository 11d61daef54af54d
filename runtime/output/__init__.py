"""Adapters, checkpoints, merged models and images."""
