"""The compiler for Kaito: checks, optimizes and runs fine-tuning manifests."""

from kaitoc.compiler import __version__

__all__ = ["__version__"]
