"""Drives the passes, and writes new manifests."""
