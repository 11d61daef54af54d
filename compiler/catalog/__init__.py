"""Catalogs of models, GPUs and Kaito releases, loaded from `schemas/catalog/*.json`."""
